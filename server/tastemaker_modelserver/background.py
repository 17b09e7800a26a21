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
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from enum import Enum
from typing import TypeVar

from tastemaker_modelserver.own_core import OwnCore, available_cores

__all__ = ["Priority", "lowest_priority", "run_at"]

_LOWER_BY = 10
_LOOK_SECONDS = 0.2
_FULL = 0.9

T = TypeVar("T")

_own_core = OwnCore()


class Priority(Enum):
    """What a piece of work may take from calls."""

    NORMAL = "normal"
    """As much as they; in the calling thread."""
    LOW = "low"
    """About a tenth of a core where calls would use them all. A call that arrives may wait for some milliseconds."""
    IDLE = "idle"
    """Next to nothing: the work stops when a call needs the core."""
    APART = "apart"
    """A core that calls do not use, as long as they can do without; then `LOW`."""


@contextmanager
def lowest_priority() -> Iterator[Priority]:
    """What disturbs calls least, for the work of a block; `LOW` where work of a lower one might never end.

    Takes 0.2 s to see.
    """
    began_s, used_s = time.monotonic(), time.process_time()
    with _own_core.held() as is_apart:
        cores = (time.process_time() - used_s) / (time.monotonic() - began_s)
        if is_apart:
            yield Priority.APART
        elif cores > _FULL * available_cores():
            yield Priority.LOW
        else:
            yield Priority.IDLE


def run_at(priority: Priority, work: Callable[[], T]) -> T:
    """Runs `work` with this priority, and waits for its result or exception."""
    if priority is Priority.NORMAL:
        return work()
    done: Future[T] = Future()

    def run() -> None:
        try:
            with _given_way(priority):
                result = work()
            done.set_result(result)
        except BaseException as error:
            done.set_exception(error)

    thread = threading.Thread(target=run, name=f"{threading.current_thread().name}-background", daemon=True)
    thread.start()
    while priority is Priority.APART and not wait([done], _LOOK_SECONDS).done:
        _own_core.watch()
    return done.result()


@contextmanager
def _given_way(priority: Priority) -> Iterator[None]:
    """For the calling thread, which was started for it."""
    if priority is Priority.APART:
        with _own_core.taken() as is_apart:
            _give_way(Priority.IDLE if is_apart else Priority.LOW)
            yield
    else:
        _give_way(priority)
        yield


def _give_way(priority: Priority) -> None:
    if not sys.platform.startswith("linux"):  # elsewhere a number of a thread means nothing here
        return
    thread = threading.get_native_id()
    if priority is Priority.IDLE:
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + _LOWER_BY))
