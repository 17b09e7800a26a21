"""Work that gives way to calls: what it returns, and that no thread that serves runs at its priority."""

import os
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tastemaker_modelserver.background import run_in_background

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a thread's priority is Linux's")


def test_the_result_or_the_exception_comes_back() -> None:
    assert run_in_background(lambda: 3) == 3
    with pytest.raises(KeyError, match="gone"):
        run_in_background(lambda: {}["gone"])


@linux_only
def test_only_the_work_has_the_lower_priority() -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = priority()
    assert run_in_background(priority) == min(19, before + 10)
    assert priority() == before


@linux_only
@pytest.mark.slow
def test_every_thread_of_a_server_that_serves_has_the_priority_it_started_with(people: Any, ask: Any) -> None:
    people.prediction.Classify(ask.classification("people", {}), timeout=30)
    tasks = Path("/proc", str(people.process.pid), "task")
    found = Counter(os.getpriority(os.PRIO_PROCESS, int(task.name)) for task in tasks.iterdir())
    assert set(found) == {os.getpriority(os.PRIO_PROCESS, people.process.pid)}
