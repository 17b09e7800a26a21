"""The threads in which jobs run, and the way back to the event loop.

A batcher decides what runs together and when; here it runs, is counted, and is answered with one wake-up of the event
loop for the whole batch. Everything but the run itself happens on the event loop's thread.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tastemaker_modelserver.jobs import Job, Outcome, run_jobs
from tastemaker_modelserver.merging import NO_PADDING, Padding
from tastemaker_modelserver.metrics import Metrics

__all__ = ["Batch", "Workers"]

Ended = Callable[[], None]
"""Called on the event loop when a batch was answered."""


@dataclass(frozen=True)
class Batch:
    """Jobs that run together."""

    jobs: Sequence[Job]
    ended: Ended
    padding: Padding = NO_PADDING


class Workers:
    """A pool of threads that run batches."""

    def __init__(self, count: int, *, metrics: Metrics, pool: str) -> None:
        self.free = count
        """Threads without a batch."""
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

    def expect(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        """Marks a job as waiting from now on; `answer` waits for it."""
        job.enqueued_s = time.monotonic()
        job.reply = loop.create_future()
        self._metrics.calls_waiting.add(self._pool)

    async def answer(self, job: Job) -> Any:
        """The answer of a job that waits; it is not run when the caller goes away before its turn.

        Raises:
            ServingError: What the caller is told.
        """
        try:
            return await job.reply
        except asyncio.CancelledError:
            job.cancelled = True
            raise

    def start(self, batch: "Batch") -> None:
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
            jobs = batch.jobs
            started_s = time.monotonic()
            self._metrics.calls_waiting.add(self._pool, by=-len(jobs))
            self._metrics.batches_running.add(self._pool)
            for job in jobs:
                self._metrics.queuing_latency.observe((started_s - job.enqueued_s) * 1e6, self._pool)
            outcomes = run_jobs(jobs, batch.padding)
            self._metrics.batches_running.add(self._pool, by=-1)
            self._metrics.wrapped_run_count.add()
            first = jobs[0]
            self._metrics.batch_rows.observe(sum(job.rows for job in jobs), first.model, str(first.lease.version))
            for job in jobs:
                job.lease.release()
            try:
                first.reply.get_loop().call_soon_threadsafe(
                    self._answer, [job.reply for job in jobs], outcomes, batch.ended
                )
            except RuntimeError:  # the loop is closed: nobody is left to answer
                return
            del batch, jobs, job, first, outcomes  # an idle thread must keep no version alive

    def _answer(self, replies: Sequence["asyncio.Future[Any]"], outcomes: Sequence[Outcome], ended: Ended) -> None:
        self.free += 1
        ended()
        for reply, (answer, error) in zip(replies, outcomes, strict=True):
            if reply.done():
                continue  # its caller went away
            if error is None:
                reply.set_result(answer)
            else:
                reply.set_exception(error)
