"""Work that gives way to calls: a thread with a lower priority of the operating system.

The first runs of a new version are computing, like serving, and on few cores each call next to them took twice as long.
Linux gives every thread a priority of its own, so that such runs take what the calls leave. No thread can raise its
priority again, and threads that it starts inherit it: hence a thread for each piece of work. It should be one that
holds no GIL: calls would wait for the GIL while the thread that holds it waits for its turn.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from enum import Enum
from typing import TypeVar

__all__ = ["Priority", "lowest_priority", "run_at"]

_LOWER_BY = 10
_LOOK_SECONDS = 0.2
_FULL = 0.9

T = TypeVar("T")


class Priority(Enum):
    """What a piece of work may take from calls."""

    NORMAL = "normal"
    """As much as they; in the calling thread."""
    LOW = "low"
    """About a tenth of a core where calls would use them all. A call that arrives may wait for some milliseconds."""
    IDLE = "idle"
    """Next to nothing: the work stops at once when a call needs the core."""


def lowest_priority() -> Priority:
    """`IDLE` while this process leaves cores idle, and `LOW` where such work might never end. Takes 0.2 s to see."""
    began_s, used_s = time.monotonic(), time.process_time()
    time.sleep(_LOOK_SECONDS)
    cores = (time.process_time() - used_s) / (time.monotonic() - began_s)
    return Priority.LOW if cores > _FULL * (os.cpu_count() or 1) else Priority.IDLE


def run_at(priority: Priority, work: Callable[[], T]) -> T:
    """Runs `work` with this priority, and waits for its result or exception."""
    if priority is Priority.NORMAL:
        return work()
    done: Future[T] = Future()

    def run() -> None:
        try:
            _give_way(priority)
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    thread = threading.Thread(target=run, name=f"{threading.current_thread().name}-background", daemon=True)
    thread.start()
    return done.result()


def _give_way(priority: Priority) -> None:
    if not sys.platform.startswith("linux"):  # elsewhere a number of a thread means nothing here
        return
    thread = threading.get_native_id()
    if priority is Priority.IDLE:
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + _LOWER_BY))
