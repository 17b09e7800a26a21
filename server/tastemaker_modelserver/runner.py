"""Running a checked job for gRPC and REST alike, and counting it."""

import asyncio
import time
from typing import Any

import grpc

from tastemaker_modelserver.batching import Executor
from tastemaker_modelserver.errors import ServingError
from tastemaker_modelserver.jobs import Done, Job
from tastemaker_modelserver.metrics import Metrics

__all__ = ["UNCOUNTED_API", "Runner"]

UNCOUNTED_API = "MultiInference"
"""TensorFlow Serving's request count and latencies leave it out; only its examples are counted."""


class Runner:
    """Hands jobs to the executor. Thread-safe."""

    def __init__(self, *, executor: Executor, metrics: Metrics) -> None:
        self._executor = executor
        self._metrics = metrics

    def start(self, job: Job, done: Done, *, api: str, entrypoint: str, started_s: float) -> None:
        """Has a job run, and counts it when it is done.

        Args:
            job: Checked; the executor takes over its lease.
            done: Called once with the answer, on any thread.
            api: `Predict`, `Classify`, …, for the metrics; over REST in lower case.
            entrypoint: `GRPC` or `REST`, for the metrics.
            started_s: When the call came in, on the `time.monotonic` clock.
        """
        self._executor.submit(job, _Counted(job, done, self._metrics, api, entrypoint, started_s))

    def flush(self) -> None:
        """Says that no more jobs are about to be started at this moment."""
        self._executor.flush()

    async def run(self, job: Job, *, api: str, entrypoint: str, started_s: float) -> Any:
        """As `start`, for a coroutine. When it is cancelled before its turn the job does not run.

        Raises:
            ServingError: What the caller is told.
        """
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Any] = loop.create_future()

        def settle(answer: Any, error: ServingError | None) -> None:
            if reply.done():
                return  # its caller went away
            if error is None:
                reply.set_result(answer)
            else:
                reply.set_exception(error)

        def done(answer: Any, error: ServingError | None) -> None:
            loop.call_soon_threadsafe(settle, answer, error)

        self.start(job, done, api=api, entrypoint=entrypoint, started_s=started_s)
        loop.call_soon(self.flush)
        try:
            return await reply
        except asyncio.CancelledError:
            job.cancelled = True
            raise


class _Counted:
    """Counts a job when it is done, and passes its answer on."""

    __slots__ = ("_api", "_done", "_entrypoint", "_job", "_metrics", "_started_s", "_version")

    def __init__(self, job: Job, done: Done, metrics: Metrics, api: str, entrypoint: str, started_s: float) -> None:
        self._job = job
        self._version = str(job.lease.version)
        self._done = done
        self._metrics = metrics
        self._api = api
        self._entrypoint = entrypoint
        self._started_s = started_s

    def __call__(self, answer: Any, error: ServingError | None) -> None:
        job, api, metrics = self._job, self._api, self._metrics
        status = "OK" if error is None else error.code.name
        if job.cancelled:
            status = grpc.StatusCode.CANCELLED.name
        metrics.version_request_count.add(job.model, self._version, job.signature.name, api, status)
        if status == "OK":
            latency_us = (time.monotonic() - self._started_s) * 1e6
            if api != UNCOUNTED_API:
                # TensorFlow Serving names a request over REST `predict`, but its run `Predict`, as over gRPC.
                metrics.runtime_latency.observe(job.runtime_s * 1e6, job.model, api[:1].upper() + api[1:], "TF1")
                metrics.request_latency.observe(latency_us, job.model, api, self._entrypoint)
            metrics.version_request_latency.observe(latency_us, job.model, self._version, job.signature.name, api)
        self._done(answer, error)
