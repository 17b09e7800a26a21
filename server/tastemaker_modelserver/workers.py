"""The threads in which jobs run and are answered.

A batcher decides what runs together and when; here it is prepared, waits for its turn, runs, is counted and answered.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tastemaker_modelserver.errors import ServingError, as_serving_error
from tastemaker_modelserver.jobs import Done, Job, SharedRun
from tastemaker_modelserver.merging import NO_PADDING, Padding
from tastemaker_modelserver.metrics import Metrics
from tastemaker_modelserver.turns import Turns

__all__ = ["Batch", "Started", "Workers"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Jobs that run together."""

    jobs: Sequence[Job]
    ended: Callable[[], None]
    """Called when the run has ended, before the jobs are answered; its thread counts as free from then on."""
    turns: "Turns[Started] | None" = None
    """Whose turn it is to run; None: everyone's. It is prepared before, and answered after."""
    padding: Padding = NO_PADDING


@dataclass(frozen=True)
class Started:
    """A batch that is ready to run."""

    batch: Batch
    run: SharedRun


class Workers:
    """A pool of threads that run batches."""

    def __init__(self, count: int, *, metrics: Metrics, pool: str) -> None:
        self.free = count
        """Threads without a batch. The batcher's, which counts up when a batch ends, under the batcher's lock."""
        self._metrics = metrics
        self._pool = pool
        metrics.threads.set(count, pool)
        metrics.batches_running.set(0, pool)
        metrics.calls_waiting.set(0, pool)
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def expect(self, job: Job, done: Done) -> None:
        """Marks a job as waiting from now on, for `done` to be called with its answer."""
        job.enqueued_s = time.monotonic()
        job.done = done
        self._metrics.calls_waiting.add(self._pool)

    def start(self, batch: Batch) -> None:
        """Gives a batch to a free thread; the jobs' leases with it."""
        self.free -= 1
        self._tasks.put(partial(self._start, batch))

    def close(self) -> None:
        """Finishes what was given to the threads, and ends them."""
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        while not self._tasks.empty():
            if (task := self._tasks.get()) is not None:
                task()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
            del task  # an idle thread must keep no version alive

    def _start(self, batch: Batch) -> None:
        """Prepares a batch and runs it, or leaves it, when it is not its turn yet, to the thread whose run is on."""
        metrics, pool = self._metrics, self._pool
        started_s = time.monotonic()
        metrics.calls_waiting.add(pool, by=-len(batch.jobs))
        metrics.batches_running.add(pool)
        for job in batch.jobs:
            metrics.queuing_latency.observe((started_s - job.enqueued_s) * 1e6, pool)
        started = Started(batch, SharedRun(batch.jobs, batch.padding))
        if batch.turns is None or batch.turns.take(started):
            self._run(started)

    def _run(self, started: Started) -> None:
        """Runs a batch, and those whose turn it is after it: another thread answers meanwhile."""
        while True:
            started.run.run()
            turns = started.batch.turns
            following = None if turns is None else turns.after()
            if following is None:
                break
            self._tasks.put(partial(self._finish, started))
            started = following
        self._finish(started)

    def _finish(self, started: Started) -> None:
        batch, first = started.batch, started.batch.jobs[0]
        metrics = self._metrics
        metrics.batches_running.add(self._pool, by=-1)
        batch.ended()
        outcomes = started.run.outcomes()
        metrics.wrapped_run_count.add()
        metrics.batch_rows.observe(sum(job.rows for job in batch.jobs), first.model, str(first.lease.version))
        for job, (arrays, error) in zip(batch.jobs, outcomes, strict=True):
            self._answer(job, arrays, error)
            job.lease.release()

    def _answer(self, job: Job, arrays: Any, error: ServingError | None) -> None:
        answer = None
        if error is None:
            try:
                answer = job.finish(arrays)
            except Exception as failure:
                error = as_serving_error(failure)
        done = job.done
        del job.done  # it refers to the job: what is left needs no collector
        try:
            done(answer, error)
        except Exception:  # the other jobs, and the thread, must outlive it
            _log.exception("A job could not be answered")
