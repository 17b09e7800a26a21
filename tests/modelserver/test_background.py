"""Work that gives way to calls: what it returns, where it runs, and that no thread that serves runs at its priority."""

import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tastemaker_modelserver import background, own_core
from tastemaker_modelserver.background import Priority, lowest_priority, run_at

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a thread's priority is Linux's")

several_cores = pytest.mark.skipif(own_core.available_cores() < 2, reason="of one core none can be set apart")
TASKS = Path("/proc/self/task")

Standing = tuple[int, int]
"""A thread's scheduling policy and its nice value."""


@pytest.mark.parametrize("priority", Priority)
def test_the_result_or_the_exception_comes_back(priority: Priority) -> None:
    assert run_at(priority, lambda: 3) == 3
    with pytest.raises(KeyError, match="gone"):
        run_at(priority, lambda: {}["gone"])


@linux_only
def test_only_the_work_has_the_lower_priority() -> None:
    before = _standing(threading.get_native_id())
    found = {priority: run_at(priority, lambda: _standing(threading.get_native_id())) for priority in Priority}
    assert found == {
        Priority.NORMAL: before,
        Priority.LOW: (before[0], min(19, before[1] + 10)),
        Priority.IDLE: (os.SCHED_IDLE, before[1]),
        Priority.APART: (before[0], min(19, before[1] + 10)),  # there is no such core: nothing holds one
    }
    assert _standing(threading.get_native_id()) == before


@linux_only
@several_cores
def test_work_has_a_core_of_its_own_that_every_other_thread_leaves() -> None:
    everywhere = os.sched_getaffinity(0)
    stop, late = threading.Event(), threading.Event()
    early = threading.Thread(target=stop.wait)
    early.start()
    with lowest_priority() as priority:
        assert priority is Priority.APART
        started = threading.Thread(target=lambda: late.set() or stop.wait())
        started.start()
        assert late.wait(30)
        cores, standing = run_at(priority, lambda: (os.sched_getaffinity(0), _standing(threading.get_native_id())))
        assert len(cores) == 1
        assert standing[0] == os.SCHED_IDLE
        for thread in (threading.main_thread(), early, started):
            assert os.sched_getaffinity(thread.native_id or 0) == everywhere - cores
    assert {frozenset(os.sched_getaffinity(int(task.name))) for task in TASKS.iterdir()} == {frozenset(everywhere)}
    stop.set()
    early.join()
    started.join()


@linux_only
@several_cores
def test_the_core_goes_back_to_the_calls_when_they_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    everywhere = os.sched_getaffinity(0)
    stop = threading.Event()
    busy = threading.Thread(target=lambda: _spin(stop))

    def work() -> set[int]:
        monkeypatch.setattr(own_core, "_ROOM", 0.01)  # as if these few per cent of a core were all that is left
        busy.start()
        until = time.monotonic() + 30
        while os.sched_getaffinity(0) != everywhere and time.monotonic() < until:
            time.sleep(0.01)
        return os.sched_getaffinity(busy.native_id or 0)

    try:
        with lowest_priority() as priority:
            assert priority is Priority.APART
            assert run_at(priority, work) == everywhere
            assert run_at(priority, lambda: _standing(threading.get_native_id()))[0] != os.SCHED_IDLE
    finally:
        stop.set()
        busy.join()


@linux_only
@several_cores
def test_two_pieces_of_work_at_once_share_the_core_until_the_last_ends() -> None:
    everywhere = os.sched_getaffinity(0)
    with lowest_priority() as first:
        with lowest_priority() as second:
            cores = run_at(first, lambda: os.sched_getaffinity(0))
            assert run_at(second, lambda: os.sched_getaffinity(0)) == cores
        assert os.sched_getaffinity(0) == everywhere - cores
    assert os.sched_getaffinity(0) == everywhere


@pytest.mark.parametrize(
    ("cgroup", "is_all"), [("0-1", True), ("0,1\n", True), ("0-3", False), ("1", False), ("", False)]
)
def test_cores_given_back_stay_limited_by_whoever_limited_them(
    cgroup: str, is_all: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_core, "_CGROUP_CORES", tmp_path / "cores")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert own_core._without_limit({0, 1}) == {0, 1}  # there is no such file
    (tmp_path / "cores").write_text(cgroup)
    assert own_core._without_limit({0, 1}) == ({0, 1, 2, 3} if is_all else {0, 1})


def test_work_waits_for_idle_cores_only_where_this_process_leaves_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_core, "_ROOM", -1)  # no core can be spared
    with lowest_priority() as priority:
        assert priority is Priority.IDLE
    stop = threading.Event()
    busy = threading.Thread(target=lambda: _spin(stop))
    busy.start()
    try:
        # as if this thread, of which others take a part, took them all
        monkeypatch.setattr(background, "available_cores", lambda: 0.1)
        with lowest_priority() as priority:
            assert priority is Priority.LOW
    finally:
        stop.set()
        busy.join()


@linux_only
@pytest.mark.slow
def test_every_thread_of_a_server_that_serves_has_the_priority_it_started_with(people: Any, ask: Any) -> None:
    people.prediction.Classify(ask.classification("people", {}), timeout=30)
    tasks = Path("/proc", str(people.process.pid), "task")
    found = Counter(_standing(int(task.name)) for task in tasks.iterdir())
    assert set(found) == {_standing(people.process.pid)}


def _standing(thread: int) -> Standing:
    return os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread)


def _spin(stop: threading.Event) -> None:
    while not stop.is_set():
        pass
