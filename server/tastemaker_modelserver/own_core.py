"""A core for work that gives way to calls: the threads that serve keep off it meanwhile.

Linux schedules work of the lowest class for a whole tick, 4 ms on many machines, now and then, even next to a thread
that serves; with the scheduler since 6.6 (EEVDF) each time that it moves to another core, and it moves whenever a call
wakes a thread on its own. On two cores every tenth call of 3 ms took 8 while a version was loaded. Apart, the two do
not meet, as long as the calls can do without that core.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["OwnCore", "available_cores"]

_LOOK_SECONDS = 0.2
_ROOM = 0.97
_TASKS = Path("/proc/self/task")
_CGROUP_CORES = Path("/sys/fs/cgroup/cpuset.cpus.effective")
_IS_LINUX = sys.platform.startswith("linux")


def available_cores() -> int:
    """That the calling thread may run on."""
    return len(os.sched_getaffinity(0)) if _IS_LINUX else os.cpu_count() or 1


class OwnCore:
    """Sets a core apart for work that gives way, unless the calls need it. Thread-safe; one of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = 0
        """Who holds it."""
        self._core: int | None = None
        """The one that is set apart."""
        self._all: set[int] = set()
        """The cores of the process."""
        self._clocks: dict[int, int] = {}
        """Thread that works on it → the clock of its processor time."""
        self._ended_s = 0.0
        """Processor time of such threads that ended."""
        self._looked_s = self._used_s = 0.0

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Sets a core apart until the block ends, after 0.2 s of looking whether the calls can do without; whether so.

        Meanwhile it goes back to the calls while they need it.
        """
        with self._lock:
            self._begin_look()
        time.sleep(_LOOK_SECONDS)
        if not _IS_LINUX:
            yield False
            return
        with self._lock:
            self._wanted += 1
            self._end_look()
            is_apart = self._core is not None
        try:
            yield is_apart
        finally:
            with self._lock:
                self._wanted -= 1
                if not self._wanted:
                    self._decide(has_room=False)

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """Moves the calling thread, which was started for such work, to the core; whether there is one."""
        if not _IS_LINUX:
            yield False
            return
        thread = threading.get_native_id()
        with self._lock:
            self._look_again()
            self._clocks[thread] = time.pthread_getcpuclockid(threading.get_ident())
            is_apart = self._core is not None
            if self._core is not None:
                _move(thread, {self._core})
        try:
            yield is_apart
        finally:
            with self._lock:
                self._ended_s += time.thread_time()
                del self._clocks[thread]

    def watch(self) -> None:
        """Gives the core to those who need it. To be called a few times per second."""
        with self._lock:
            self._look_again()

    def _look_again(self) -> None:
        if time.monotonic() - self._looked_s >= _LOOK_SECONDS:
            self._end_look()

    def _begin_look(self) -> None:
        self._looked_s, self._used_s = time.monotonic(), self._used_by_calls_s()

    def _end_look(self) -> None:
        if self._core is None:
            self._all = os.sched_getaffinity(0)
        cores = (self._used_by_calls_s() - self._used_s) / (time.monotonic() - self._looked_s)
        count = len(self._all)
        self._decide(has_room=count > 1 and cores <= _ROOM * (count - 1))
        self._begin_look()

    def _decide(self, *, has_room: bool) -> None:
        if has_room and self._wanted and self._core is None:
            self._core = max(self._all)
            _move_all(self._all - {self._core})
            for thread in self._clocks:
                _move(thread, {self._core})
        elif not has_room and self._core is not None:
            self._core = None
            _move_all(_without_limit(self._all))

    def _used_by_calls_s(self) -> float:
        """Processor time of the process, without that of the work."""
        return time.process_time() - self._ended_s - sum(map(time.clock_gettime, self._clocks.values()))


def _without_limit(cores: set[int]) -> set[int]:
    """The cores to give back: where the cgroup alone set the limit, all, so that it still does when it changes."""
    with suppress(OSError, ValueError):
        ranges = [part.split("-") for part in _CGROUP_CORES.read_text().strip().split(",")]
        if cores == {core for ends in ranges for core in range(int(ends[0]), int(ends[-1]) + 1)}:
            return cores | set(range(os.cpu_count() or 1))
    return cores


def _move_all(cores: set[int]) -> None:
    moved: set[int] = set()
    while threads := {int(task.name) for task in _TASKS.iterdir()} - moved:  # again: those started meanwhile
        for thread in threads:
            _move(thread, cores)
        moved |= threads


def _move(thread: int, cores: set[int]) -> None:
    with suppress(OSError):  # it has ended, or this system does not let us: then it runs where it did
        os.sched_setaffinity(thread, cores)
