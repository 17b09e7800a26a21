"""Who runs next, where only so many things may run at once."""

import threading
from collections import deque
from typing import Generic, TypeVar

__all__ = ["Turns"]

T = TypeVar("T")


class Turns(Generic[T]):
    """Hands what waits to the thread whose own run has just ended. Thread-safe.

    A thread that waited for its turn would have to be woken, and to get the GIL, before its run could begin: of ten
    milliseconds the session would idle for one.
    """

    def __init__(self, at_once: int) -> None:
        """`at_once` things may run at once."""
        self._free = at_once
        self._waiting: deque[T] = deque()
        self._lock = threading.Lock()

    def take(self, thing: T) -> bool:
        """Whether it is its turn now; otherwise it waits, and one who has run gets it from `after`."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            self._waiting.append(thing)
            return False

    def after(self) -> T | None:
        """What to run next, for one who has run; None, and the turn is over, when nothing waits."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._free += 1
            return None
