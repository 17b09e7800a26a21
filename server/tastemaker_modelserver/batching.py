"""The adaptive micro-batcher: calls that arrive together share a run.

A lone call starts at once. Under load, calls gather while the event loop still has others to read and while an earlier
run of their kind is in progress, but never longer than a run takes: the load itself sets the size of a batch, and
there is nothing to tune. `fixed_batching` holds the batcher that `--enable_batching` configures.

The event loop owns the queues, so that no lock is taken per call; worker threads only run.
"""

import asyncio
import time
from collections import deque
from collections.abc import Hashable
from typing import Protocol

from tastemaker_modelserver.jobs import Job
from tastemaker_modelserver.metrics import Metrics
from tastemaker_modelserver.signatures import Rule
from tastemaker_modelserver.workers import Workers

__all__ = ["AdaptiveBatcher", "Executor"]

_LONGEST_HOLD_S = 0.005


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

    __slots__ = ("jobs", "last_run_s", "rows", "running")

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()
        self.rows = 0
        self.running = 0
        self.last_run_s = 0.0


class AdaptiveBatcher:
    """Groups what arrives together; starts the rest at once."""

    def __init__(self, *, metrics: Metrics, workers: int, max_batch_rows: int, batch: bool = True) -> None:
        """Starts the workers.

        Args:
            metrics: Where batches are counted.
            workers: Runs at once.
            max_batch_rows: Rows of a run at most; a larger request runs alone.
            batch: False: every job runs alone.
        """
        self._max_rows = max_batch_rows
        self._batch = batch
        self._queues: dict[Hashable, _Queue] = {}  # in the order in which their oldest job arrived
        self._scheduled = False
        self._arrived = False
        self._workers = Workers(workers, metrics=metrics, pool="adaptive")

    async def run(self, job: Job) -> object:
        """See `Executor`."""
        loop = asyncio.get_running_loop()
        reply = self._workers.expect(job, loop)
        key: Hashable = id(job)
        if self._batch:
            job.group(Rule.CAUTIOUS)
        if job.grouping is not None:
            key = (id(job.lease.servable), job.grouping.key)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue()
        queue.jobs.append(job)
        queue.rows += job.rows
        self._arrived = True
        self._schedule(loop)
        try:
            return await reply
        except asyncio.CancelledError:
            job.cancelled = True
            raise

    def close(self) -> None:
        """See `Executor`."""
        self._workers.close()

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._dispatch, loop)

    def _dispatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts what is due; comes back in the loop's next round, without a wait, while something is held."""
        self._scheduled = False
        quiet, self._arrived = not self._arrived, False
        now_s = time.monotonic()
        held = False
        for key, queue in list(self._queues.items()):
            if not self._workers.free:
                return  # the next run that ends comes back here
            if not queue.jobs:
                continue
            if self._is_due(queue, now_s, quiet=quiet):
                self._start(key, queue)
            else:
                held = held or not queue.running
        if held:
            self._schedule(loop)

    def _is_due(self, queue: _Queue, now_s: float, *, quiet: bool) -> bool:
        if not self._batch or queue.rows >= self._max_rows:
            return True
        waited_s = now_s - queue.jobs[0].enqueued_s
        if queue.running:
            return waited_s > queue.last_run_s > 0
        return quiet or waited_s >= min(queue.last_run_s, _LONGEST_HOLD_S)

    def _start(self, key: Hashable, queue: _Queue) -> None:
        taken = [queue.jobs.popleft()]
        rows = taken[0].rows
        while queue.jobs and rows + queue.jobs[0].rows <= self._max_rows:
            taken.append(queue.jobs.popleft())
            rows += taken[-1].rows
        queue.rows -= rows
        queue.running += 1
        self._workers.start(taken, lambda run_s: self._ended(key, queue, run_s))
        if queue.jobs:  # the others' turn first
            self._queues[key] = self._queues.pop(key)

    def _ended(self, key: Hashable, queue: _Queue, run_s: float) -> None:
        queue.running -= 1
        queue.last_run_s = run_s
        if not queue.jobs and not queue.running:
            del self._queues[key]
        if self._queues:
            self._schedule(asyncio.get_running_loop())
