"""The batcher of `--enable_batching`: batches as BatchingParameters say, with a timer and a bounded queue.

What TensorFlow Serving fails for a whole batch works here: jobs of different shapes do not meet unless they are
padded, and one bad job fails alone.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Hashable

from tastemaker_modelserver.batching_parameters import BatchingParameters
from tastemaker_modelserver.errors import InvalidArgumentError, ServingError, UnavailableError
from tastemaker_modelserver.jobs import Done, Job
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
        self._changed = threading.Condition()
        self._queues: dict[Hashable, _Queue] = {}  # the first's turn is next
        self._next_s = math.inf
        """When the timer looks again, on the `time.monotonic` clock."""
        self._closed = False
        self._workers = Workers(parameters.threads, metrics=metrics, pool=parameters.pool)
        self._timer = threading.Thread(target=self._watch, name="batch-timer", daemon=True)
        self._timer.start()

    def submit(self, job: Job, done: Done) -> None:
        """See `batching.Executor`."""
        try:
            with self._changed:
                self._enqueue(job)
                self._workers.expect(job, done)
                self._dispatch()
        except ServingError as error:
            job.lease.release()
            done(None, error)

    def flush(self) -> None:
        """See `batching.Executor`. Here the parameters say how long to wait for more."""

    def close(self) -> None:
        """See `batching.Executor`."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._timer.join()
        self._workers.close()

    def _watch(self) -> None:
        """Starts the batches whose time has come."""
        with self._changed:
            while not self._closed:
                left_s = self._next_s - time.monotonic()
                if left_s > 0:
                    self._changed.wait(None if math.isinf(left_s) else left_s)
                else:
                    self._dispatch()

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
        """Starts what is due while threads are free, and sets the timer for the rest. Called with the lock."""
        now_s = time.monotonic()
        due = [key for key, queue in self._queues.items() if _due_s(key, queue) <= now_s]
        while due and self._workers.free:
            key = due.pop(0)
            queue = self._queues.pop(key)
            batch = queue.batches.popleft()
            padding = queue.parameters.padding if isinstance(key, tuple) else NO_PADDING
            self._workers.start(Batch(batch, self._ended, padding=padding))
            if queue.batches:  # the others' turn first
                self._queues[key] = queue
                if _due_s(key, queue) <= now_s:
                    due.append(key)
        before_s = self._next_s
        # Without a free thread nothing can start until a batch ends, which comes back here.
        waiting = self._queues.items() if self._workers.free else ()
        self._next_s = min((_due_s(key, queue) for key, queue in waiting), default=math.inf)
        if self._next_s < before_s:
            self._changed.notify()

    def _ended(self) -> None:
        with self._changed:
            self._workers.free += 1
            self._dispatch()


def _due_s(key: Hashable, queue: _Queue) -> float:
    """When the queue's oldest batch may start; a job without a grouping at once."""
    return queue.due_s() if isinstance(key, tuple) else 0.0
