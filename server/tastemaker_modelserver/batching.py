"""The adaptive micro-batcher: calls that wait for a worker anyway share the next run.

A lone call starts at once. While a run is in progress the calls that arrive meanwhile queue up, and the next free
worker takes all that fit together. There is no timer and nothing to tune: the load itself sets the size of a batch.
`fixed_batching` holds the batcher that `--enable_batching` configures.
"""

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from typing import Protocol

from tastemaker_modelserver.errors import UnavailableError
from tastemaker_modelserver.jobs import Job, Outcome, run_jobs
from tastemaker_modelserver.metrics import Metrics

__all__ = ["AdaptiveBatcher", "Executor", "deliver", "wait_for"]

_POOL = "adaptive"


class Executor(Protocol):
    """Runs jobs for the event loop."""

    async def run(self, job: Job) -> object:
        """The job's answer. Takes over the job's lease.

        Raises:
            ServingError: What the caller is told.
        """

    def close(self) -> None:
        """Finishes what is queued and stops the workers."""


class AdaptiveBatcher:
    """Groups what is queued; starts the rest at once."""

    def __init__(self, *, metrics: Metrics, workers: int, max_batch_rows: int, batch: bool = True) -> None:
        """Starts the workers.

        Args:
            metrics: Where batches are counted.
            workers: Runs at once.
            max_batch_rows: Rows of a run at most; a larger request runs alone.
            batch: False: every job runs alone.
        """
        self._metrics = metrics
        self._max_rows = max_batch_rows
        self._batch = batch
        self._wake = threading.Condition()
        self._queues: OrderedDict[Hashable, deque[Job]] = OrderedDict()  # by the arrival of the oldest job in each
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True) for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, job: Job) -> object:
        """See `Executor`."""
        job.reply = asyncio.get_running_loop().create_future()
        job.enqueued_s = time.monotonic()
        key: Hashable = id(job)
        if self._batch and job.grouping is not None:
            key = (id(job.lease.servable), job.grouping.key)
        with self._wake:
            if self._closing:
                job.lease.release()
                raise UnavailableError("The server is shutting down")
            self._queues.setdefault(key, deque()).append(job)
            self._wake.notify()
        return await wait_for(job)

    def close(self) -> None:
        """See `Executor`."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._queues:
                    if self._closing:
                        return
                    self._wake.wait()
                jobs = self._take()
            started = time.monotonic()
            for job in jobs:
                self._metrics.queuing_latency.observe((started - job.enqueued_s) * 1e6, _POOL)
            outcomes = run_jobs(jobs)
            self._metrics.wrapped_run_count.add()
            rows = sum(job.grouping.rows if job.grouping is not None else 1 for job in jobs)
            self._metrics.batch_rows.observe(rows, jobs[0].model, str(jobs[0].lease.version))
            deliver(jobs, outcomes)
            del jobs, outcomes  # the leases of an idle worker's last batch must not outlive it

    def _take(self) -> list[Job]:
        """The jobs of the oldest queue, as many as fit into one run. Called with the lock held and a queue waiting."""
        key, queue = next(iter(self._queues.items()))
        taken = [queue.popleft()]
        rows = taken[0].grouping.rows if taken[0].grouping is not None else self._max_rows
        while queue and queue[0].grouping is not None and rows + queue[0].grouping.rows <= self._max_rows:
            taken.append(queue.popleft())
            rows += taken[-1].grouping.rows if taken[-1].grouping is not None else 0
        if queue:
            self._queues.move_to_end(key)
        else:
            del self._queues[key]
        return taken


async def wait_for(job: Job) -> object:
    """Waits for the outcome of a queued job; a caller that goes away takes an unstarted job with it."""
    try:
        return await job.reply
    except asyncio.CancelledError:
        job.cancelled = True
        raise


def deliver(jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    """Answers jobs from a worker thread, with one wake-up of the event loop for all, and releases their leases."""
    for job in jobs:
        job.lease.release()
    loop = jobs[0].reply.get_loop()
    try:
        loop.call_soon_threadsafe(_resolve, [job.reply for job in jobs], outcomes)
    except RuntimeError:
        if not loop.is_closed():
            raise  # a closed loop has nobody left to answer


def _resolve(replies: Sequence["asyncio.Future[object]"], outcomes: Sequence[Outcome]) -> None:
    for reply, (answer, error) in zip(replies, outcomes, strict=True):
        if reply.done():
            continue
        if error is None:
            reply.set_result(answer)
        else:
            reply.set_exception(error)
