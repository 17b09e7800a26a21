"""The threads in which jobs run and are answered.

A batcher decides what runs together and when; here it is prepared, waits for its turn, runs, is counted and answered.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from tastemaker_modelserver.errors import ServingError, as_serving_error
from tastemaker_modelserver.jobs import Done, Job, run_jobs
from tastemaker_modelserver.merging import NO_PADDING, Padding
from tastemaker_modelserver.metrics import Metrics
from tastemaker_modelserver.session import AT_ONCE

__all__ = ["Batch", "Workers"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Jobs that run together."""

    jobs: Sequence[Job]
    ended: Callable[[], None]
    """Called when the run has ended, before the jobs are answered; the thread counts as free from then on."""
    turn: AbstractContextManager[Any] = AT_ONCE
    """Held while it runs, not while it is prepared or answered."""
    padding: Padding = NO_PADDING


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
        self._batches: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run_batches, name=f"batch-{number}", daemon=True) for number in range(count)
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
        self._batches.put(batch)

    def close(self) -> None:
        """Lets the threads finish what they were given, and ends them."""
        for _ in self._threads:
            self._batches.put(None)
        for thread in self._threads:
            thread.join()

    def _run_batches(self) -> None:
        while (batch := self._batches.get()) is not None:
            self._run(batch)
            del batch  # an idle thread must keep no version alive

    def _run(self, batch: Batch) -> None:
        jobs, first = batch.jobs, batch.jobs[0]
        metrics, pool = self._metrics, self._pool
        started_s = time.monotonic()
        metrics.calls_waiting.add(pool, by=-len(jobs))
        metrics.batches_running.add(pool)
        for job in jobs:
            metrics.queuing_latency.observe((started_s - job.enqueued_s) * 1e6, pool)
        outcomes = run_jobs(jobs, batch.padding, batch.turn)
        metrics.batches_running.add(pool, by=-1)
        batch.ended()
        metrics.wrapped_run_count.add()
        metrics.batch_rows.observe(sum(job.rows for job in jobs), first.model, str(first.lease.version))
        for job, (arrays, error) in zip(jobs, outcomes, strict=True):
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
