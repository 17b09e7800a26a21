"""The adaptive micro-batcher: calls that arrive together share a run.

A lone call starts at once. Under load, calls gather while an earlier run of their kind is in progress: the load itself
sets the size of a batch, and there is no timer and nothing to tune. `fixed_batching` holds the batcher that
`--enable_batching` configures.

The event loop owns the queues, so that no lock is taken per call; worker threads only run.
"""

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Protocol

from tastemaker_modelserver.jobs import Job
from tastemaker_modelserver.metrics import Metrics
from tastemaker_modelserver.signatures import Rule
from tastemaker_modelserver.workers import Batch, Workers

__all__ = ["AdaptiveBatcher", "Executor"]


_SMALLEST_SHARE = 16
"""Rows: a run of fewer costs little less than a run of these, so that splitting it would gain nothing."""


class Executor(Protocol):
    """Runs jobs for the event loop."""

    async def run(self, job: Job) -> object:
        """The job's answer. Takes over the job's lease.

        Raises:
            ServingError: What the caller is told.
        """

    def close(self) -> None:
        """Finishes what is queued and stops the workers."""


class _Queue:
    """Jobs of one grouping, in order of arrival."""

    __slots__ = ("answering", "jobs", "running", "running_rows", "waiting_rows")

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()
        self.waiting_rows = 0
        self.running = 0
        self.running_rows = 0
        self.answering = 0
        """Rows of the run that ended last: their callers, most of them, will come again soon."""


class AdaptiveBatcher:
    """Groups what arrives together; starts the rest at once."""

    def __init__(
        self, *, metrics: Metrics, workers: int, runs_at_once: int, max_batch_rows: int, batch: bool = True
    ) -> None:
        """Starts the workers.

        Args:
            metrics: Where batches are counted.
            workers: Runs at once, of all kinds together.
            runs_at_once: Of one kind. More than a session has threads only makes each take longer.
            max_batch_rows: Rows of a run at most; a larger request runs alone.
            batch: False: every job runs alone.
        """
        self._runs_at_once = runs_at_once
        self._max_rows = max_batch_rows
        self._batch = batch
        self._queues: dict[Hashable, _Queue] = {}  # in the order in which their oldest job arrived
        self._scheduled = False
        self._workers = Workers(workers, metrics=metrics, pool="adaptive")

    async def run(self, job: Job) -> object:
        """See `Executor`."""
        loop = asyncio.get_running_loop()
        self._workers.expect(job, loop)
        key: Hashable = id(job)
        if self._batch:
            job.group(Rule.CAUTIOUS)
        if job.grouping is not None:
            key = (id(job.lease.servable), job.grouping.key)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue()
        queue.jobs.append(job)
        queue.waiting_rows += job.rows
        self._schedule(loop)
        return await self._workers.answer(job)

    def close(self) -> None:
        """See `Executor`."""
        self._workers.close()

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Starts what is due, once the event loop has taken in what had arrived."""
        self._scheduled = False
        for key, queue in list(self._queues.items()):
            if not self._workers.free:
                return  # the next run that ends comes back here
            if queue.jobs and self._is_due(queue):
                self._start(key, queue)

    def _is_due(self, queue: _Queue) -> bool:
        """Whether to start; what is not due waits for the end of a run of its kind."""
        return not self._batch or queue.running < self._runs_at_once

    def _start(self, key: Hashable, queue: _Queue) -> None:
        most = self._share(queue)
        taken = [queue.jobs.popleft()]
        rows = taken[0].rows
        while queue.jobs and rows + queue.jobs[0].rows <= most:
            taken.append(queue.jobs.popleft())
            rows += taken[-1].rows
        queue.waiting_rows -= rows
        queue.running += 1
        queue.running_rows += rows
        self._workers.start(Batch(taken, lambda: self._ended(key, queue, rows)))
        if queue.jobs:  # the others' turn first
            self._queues[key] = self._queues.pop(key)

    def _share(self, queue: _Queue) -> int:
        """The rows that the next run takes at most.

        Callers that wait for an answer before they call again fall into step with the runs. One run for all of them
        would leave the processor idle while they are answered, and the event loop idle while it computes. So one group
        stays behind for each run at once: it is answered, and read anew, meanwhile.
        """
        groups = self._runs_at_once + 1
        rows = queue.waiting_rows + queue.running_rows + queue.answering
        return min(self._max_rows, max(_SMALLEST_SHARE, -(-rows // groups)))

    def _ended(self, key: Hashable, queue: _Queue, rows: int) -> None:
        queue.running -= 1
        queue.running_rows -= rows
        queue.answering = rows
        if not queue.jobs and not queue.running:
            del self._queues[key]
        self._dispatch()
