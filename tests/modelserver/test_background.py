"""Work that gives way to calls: what it returns, and that no thread that serves runs at its priority."""

import os
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tastemaker_modelserver.background import Priority, lowest_priority, run_at

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a thread's priority is Linux's")

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
    }
    assert _standing(threading.get_native_id()) == before


def test_work_waits_for_idle_cores_only_where_this_process_leaves_some(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lowest_priority() is Priority.IDLE
    stop = threading.Event()
    busy = threading.Thread(target=lambda: _spin(stop))
    busy.start()
    try:
        monkeypatch.setattr(
            os, "cpu_count", lambda: 0.1
        )  # as if this thread, of which others take a part, took them all
        assert lowest_priority() is Priority.LOW
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
