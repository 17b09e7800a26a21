"""The adaptive micro-batcher: calls that arrive together share a run.

A lone call starts at once. Under load, calls gather while an earlier run of their kind is in progress: the load itself
sets the size of a batch, and there is no timer and nothing to tune. `fixed_batching` holds the batcher that
`--enable_batching` configures.
"""

import threading
from collections import deque
from collections.abc import Hashable
from typing import Protocol

from tastemaker_modelserver.jobs import Done, Job
from tastemaker_modelserver.metrics import Metrics
from tastemaker_modelserver.signatures import Rule
from tastemaker_modelserver.turns import Turns
from tastemaker_modelserver.workers import Batch, Started, Workers

__all__ = ["AdaptiveBatcher", "Executor"]


_SMALLEST_SHARE = 16
"""Rows: a run of fewer costs little less than a run of these, so that splitting it would gain nothing."""


class Executor(Protocol):
    """Runs jobs. Thread-safe."""

    def submit(self, job: Job, done: Done) -> None:
        """Takes over the job's lease, and calls `done` once: on a thread of its own, or before it returns."""

    def flush(self) -> None:
        """Says that no more jobs are about to be submitted at this moment."""

    def close(self) -> None:
        """Finishes what is queued and stops the workers."""


class _Queue:
    """Jobs of one grouping, in order of arrival."""

    __slots__ = ("answering", "jobs", "started", "started_rows", "turns", "waiting_rows")

    def __init__(self, runs_at_once: int) -> None:
        self.jobs: deque[Job] = deque()
        self.waiting_rows = 0
        self.started = 0
        """Batches that run or are about to."""
        self.started_rows = 0
        self.answering = 0
        """Rows of the runs that ended whose callers, most of them, will come again soon."""
        self.turns: Turns[Started] = Turns(runs_at_once)


class AdaptiveBatcher:
    """Groups what arrives together; starts the rest at once."""

    def __init__(
        self, *, metrics: Metrics, workers: int, runs_at_once: int, max_batch_rows: int, batch: bool = True
    ) -> None:
        """Starts the workers.

        Args:
            metrics: Where batches are counted.
            workers: Batches at once, of all kinds together.
            runs_at_once: Of one kind. More than a session has threads only makes each take longer.
            max_batch_rows: Rows of a run at most; a larger request runs alone.
            batch: False: every job runs alone.
        """
        self._runs_at_once = runs_at_once
        self._max_rows = max_batch_rows
        self._batch = batch
        self._spare = workers // 2
        self._lock = threading.Lock()
        self._queues: dict[Hashable, _Queue] = {}  # in the order in which their oldest job arrived
        self._workers = Workers(workers, metrics=metrics, pool="adaptive")

    def submit(self, job: Job, done: Done) -> None:
        """See `Executor`."""
        self._workers.expect(job, done)
        key: Hashable = id(job)
        if self._batch:
            job.group(Rule.CAUTIOUS)
            if job.grouping is not None:
                key = (id(job.lease.servable), job.grouping.key)
        with self._lock:
            queue = self._queues.get(key)
            if queue is None:
                queue = self._queues[key] = _Queue(self._runs_at_once)
            queue.jobs.append(job)
            queue.waiting_rows += job.rows
            queue.answering = max(0, queue.answering - job.rows)

    def flush(self) -> None:
        """See `Executor`."""
        with self._lock:
            self._dispatch()

    def close(self) -> None:
        """See `Executor`."""
        self._workers.close()

    def _dispatch(self) -> None:
        """Starts what is due. Called with the lock."""
        for key, queue in list(self._queues.items()):
            while queue.jobs and self._is_due(queue):
                if not self._workers.free:
                    return  # the next batch that ends comes back here
                self._start(key, queue)

    def _is_due(self, queue: _Queue) -> bool:
        """Whether to start a batch; what is not due waits for the end of a run of its kind.

        One batch more than may run is prepared, once its share is there: it runs as soon as it is its turn. Half of
        the workers are left to other kinds.
        """
        if not self._batch or queue.started < self._runs_at_once:
            return True
        if queue.started > self._runs_at_once or self._workers.free <= self._spare:
            return False
        return queue.waiting_rows >= self._share(queue)

    def _start(self, key: Hashable, queue: _Queue) -> None:
        most = self._share(queue)
        taken = [queue.jobs.popleft()]
        rows = taken[0].rows
        while queue.jobs and rows + queue.jobs[0].rows <= most:
            taken.append(queue.jobs.popleft())
            rows += taken[-1].rows
        queue.waiting_rows -= rows
        queue.started += 1
        queue.started_rows += rows
        self._workers.start(Batch(taken, lambda: self._ended(key, queue, rows), queue.turns))
        if queue.jobs:  # the others' turn first
            self._queues[key] = self._queues.pop(key)

    def _share(self, queue: _Queue) -> int:
        """The rows that the next batch takes at most.

        Callers that wait for an answer before they call again fall into step with the runs. One run for all of them
        would leave the session idle while they are answered, and the other cores idle while it computes. So one group
        stays behind for each run at once: it is answered, and read anew, meanwhile.
        """
        groups = self._runs_at_once + 1
        rows = queue.waiting_rows + queue.started_rows + queue.answering
        return min(self._max_rows, max(_SMALLEST_SHARE, -(-rows // groups)))

    def _ended(self, key: Hashable, queue: _Queue, rows: int) -> None:
        """A run has ended; its jobs are yet to be answered."""
        with self._lock:
            queue.started -= 1
            queue.started_rows -= rows
            queue.answering = rows
            if not queue.jobs and not queue.started:
                self._queues.pop(key, None)
            self._workers.free += 1
            self._dispatch()
