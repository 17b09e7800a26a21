"""The batcher of `--enable_batching`: batches as BatchingParameters say, with a timer and a bounded queue.

What TensorFlow Serving fails for a whole batch works here: jobs of different shapes do not meet unless they are
padded, and one bad job fails alone.
"""

import asyncio
import time
from collections import deque
from collections.abc import Hashable

from tastemaker_modelserver.batching_parameters import BatchingParameters
from tastemaker_modelserver.errors import InvalidArgumentError, UnavailableError
from tastemaker_modelserver.jobs import Job
from tastemaker_modelserver.merging import NO_PADDING
from tastemaker_modelserver.metrics import Metrics
from tastemaker_modelserver.signatures import Rule
from tastemaker_modelserver.workers import Batch, Workers

__all__ = ["FixedBatcher"]


class _Queue:
    """The batches of one grouping that wait; the last of them is open."""

    __slots__ = ("batches", "parameters", "rows")

    def __init__(self, parameters: BatchingParameters) -> None:
        self.parameters = parameters
        self.batches: deque[list[Job]] = deque()
        self.rows = 0
        """Of the open batch."""

    def add(self, job: Job) -> None:
        """Puts a job into the open batch, or opens another.

        Raises:
            UnavailableError: There are as many batches as may wait.
        """
        if not self.batches or self.rows + job.rows > self.parameters.max_batch_rows:
            if len(self.batches) >= self.parameters.max_queued_batches:
                raise UnavailableError(
                    "The batch scheduling queue to which this task was submitted is full; currently "
                    f"{len(self.batches)} batches enqueued and max_enqueued_batches is "
                    f"{self.parameters.max_queued_batches}"
                )
            self.batches.append([])
            self.rows = 0
        self.batches[-1].append(job)
        self.rows += job.rows

    def due_s(self) -> float:
        """When the oldest batch may start."""
        if len(self.batches) > 1 or self.rows >= self.parameters.max_batch_rows:
            return 0.0
        return self.batches[0][0].enqueued_s + self.parameters.timeout_s


class FixedBatcher:
    """Groups by the parameters."""

    def __init__(self, parameters: BatchingParameters, *, per_version: bool, metrics: Metrics) -> None:
        """Starts the threads.

        Args:
            parameters: Of all versions, and of the threads.
            per_version: Take everything but the threads from each version's own file; one without it runs unbatched.
            metrics: Where batches are counted.
        """
        self._parameters = parameters
        self._per_version = per_version
        self._queues: dict[Hashable, _Queue] = {}  # the first's turn is next
        self._workers = Workers(parameters.threads, metrics=metrics, pool=parameters.pool)
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, job: Job) -> object:
        """See `batching.Executor`."""
        try:
            self._enqueue(job)
        except BaseException:
            job.lease.release()
            raise
        self._workers.expect(job, asyncio.get_running_loop())
        self._dispatch()
        return await self._workers.answer(job)

    def close(self) -> None:
        """See `batching.Executor`."""
        self._workers.close()

    def _enqueue(self, job: Job) -> None:
        parameters = job.lease.servable.batching if self._per_version else self._parameters
        key: Hashable = id(job)
        if parameters is not None:
            job.group(Rule.LENIENT if parameters.padding.variable_length else Rule.TRUSTING)
        if parameters is not None and job.grouping is not None:
            if job.rows > parameters.max_batch_rows:
                raise InvalidArgumentError(
                    f"Task size {job.rows} is larger than maximum input batch size {parameters.max_batch_rows}"
                )
            key = (id(job.lease.servable), job.grouping.key)
        job.enqueued_s = time.monotonic()
        queue = self._queues.get(key) or _Queue(parameters or self._parameters)
        queue.add(job)
        self._queues[key] = queue

    def _dispatch(self) -> None:
        """Starts what is due while threads are free, and sets the timer for the rest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now_s = time.monotonic()
        next_s = float("inf")
        for key, queue in list(self._queues.items()):
            if not self._workers.free:
                return  # a batch that ends comes back here
            due_s = queue.due_s() if isinstance(key, tuple) else 0.0
            if due_s > now_s:
                next_s = min(next_s, due_s)
                continue
            batch = queue.batches.popleft()
            del self._queues[key]
            if queue.batches:
                self._queues[key] = queue  # the others' turn first
                next_s = 0.0
            grouped = isinstance(key, tuple)
            padding = queue.parameters.padding if grouped else NO_PADDING
            self._workers.start(Batch(batch, self._dispatch, padding))
        if next_s == 0.0 and self._workers.free:
            self._dispatch()
        elif self._queues and next_s < float("inf"):
            self._timer = asyncio.get_running_loop().call_later(max(0.0, next_s - now_s), self._dispatch)
