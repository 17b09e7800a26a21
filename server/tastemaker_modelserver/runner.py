"""Running a checked job for gRPC and REST alike, and counting it."""

import asyncio
import time
from typing import Any

import grpc

from tastemaker_modelserver.batching import Executor
from tastemaker_modelserver.errors import ServingError
from tastemaker_modelserver.jobs import Job
from tastemaker_modelserver.metrics import Metrics

__all__ = ["UNCOUNTED_API", "Runner"]

UNCOUNTED_API = "MultiInference"
"""TensorFlow Serving's request count and latencies leave it out; only its examples are counted."""


class Runner:
    """Hands jobs to the executor."""

    def __init__(self, *, executor: Executor, metrics: Metrics) -> None:
        self._executor = executor
        self._metrics = metrics

    async def run(self, job: Job, *, api: str, entrypoint: str, started_s: float) -> Any:
        """The job's answer.

        Args:
            job: Checked; the executor takes over its lease.
            api: `Predict`, `Classify`, …, for the metrics; over REST in lower case.
            entrypoint: `GRPC` or `REST`, for the metrics.
            started_s: When the call came in, on the `time.monotonic` clock.

        Raises:
            ServingError: What the caller is told.
        """
        version, signature = str(job.lease.version), job.signature.name
        status = "OK"
        try:
            answer = await self._executor.run(job)
        except ServingError as error:
            status = error.code.name
            raise
        except asyncio.CancelledError:
            status = grpc.StatusCode.CANCELLED.name
            raise
        finally:
            self._metrics.version_request_count.add(job.model, version, signature, api, status)
        latency_us = (time.monotonic() - started_s) * 1e6
        if api != UNCOUNTED_API:
            # TensorFlow Serving names a request over REST `predict`, but its run `Predict`, as over gRPC.
            self._metrics.runtime_latency.observe(job.runtime_s * 1e6, job.model, api[:1].upper() + api[1:], "TF1")
            self._metrics.request_latency.observe(latency_us, job.model, api, entrypoint)
        self._metrics.version_request_latency.observe(latency_us, job.model, version, signature, api)
        return answer
