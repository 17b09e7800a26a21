"""Work that gives way to calls: a thread with a lower priority of the operating system.

The first runs of a new version are computing, like serving, and on few cores each call next to them took twice as long.
Linux gives every thread a priority of its own, so that such runs take what the calls leave. No thread can raise its
priority again, and threads that it starts inherit it: hence a thread for each piece of work. It should be one that
holds no GIL: calls would wait for the GIL while the thread that holds it waits for its turn.
"""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["run_in_background"]

_LOWER_BY = 10
"""About a tenth of a core where calls would use them all: a load that waits for idle cores might never end."""

T = TypeVar("T")


def run_in_background(work: Callable[[], T]) -> T:
    """Runs `work` in a thread of low priority, and waits for its result or exception."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            _give_way()
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    thread = threading.Thread(target=run, name=f"{threading.current_thread().name}-background", daemon=True)
    thread.start()
    return done.result()


def _give_way() -> None:
    if sys.platform.startswith("linux"):  # elsewhere a number of a thread means nothing here
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + _LOWER_BY))
