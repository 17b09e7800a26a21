"""The gRPC services: PredictionService and ModelService on `grpc.aio`.

Each method checks, hands over and waits; errors become statuses in one place, and every call is counted under the
model's name, as TensorFlow Serving counts it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from tastemaker_modelserver.batching import Executor
from tastemaker_modelserver.errors import ServingError, as_serving_error
from tastemaker_modelserver.jobs import Job
from tastemaker_modelserver.lookup import ModelLookup
from tastemaker_modelserver.metadata import model_metadata, model_status
from tastemaker_modelserver.metrics import Metrics
from tastemaker_modelserver.predict import Predictor
from tastemaker_modelserver.states import VersionStates

__all__ = ["Runner", "add_services"]


class Runner:
    """Runs a job and counts it; gRPC and REST share it."""

    def __init__(self, *, executor: Executor, metrics: Metrics) -> None:
        self._executor = executor
        self._metrics = metrics

    async def run(self, job: Job, *, api: str, entrypoint: str, started_s: float) -> Any:
        """The job's answer.

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
        self._metrics.runtime_latency.observe(job.runtime_s * 1e6, job.model, api, "TF1")
        self._metrics.request_latency.observe(latency_us, job.model, api, entrypoint)
        self._metrics.version_request_latency.observe(latency_us, job.model, version, signature, api)
        return answer


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]  # untyped stubs
    def __init__(self, *, predictor: Predictor, lookup: ModelLookup, runner: Runner, metrics: Metrics) -> None:
        self._predictor = predictor
        self._lookup = lookup
        self._runner = runner
        self._metrics = metrics

    async def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802  # the wire's name
        started_s = time.monotonic()
        status = "OK"
        try:
            job = self._predictor.job(request, deadline_s=deadline_of(context, started_s))
            return await self._runner.run(job, api="Predict", entrypoint="GRPC", started_s=started_s)
        except ServingError as error:
            status = error.code.name
            await fail(context, error)
        finally:
            self._metrics.request_count.add(request.model_spec.name, status)

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802  # the wire's name
        return await answered(context, lambda: model_metadata(request, self._lookup))


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]  # untyped stubs
    def __init__(self, *, states: VersionStates) -> None:
        self._states = states

    async def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802  # the wire's name
        return await answered(context, lambda: model_status(request, self._states))


def add_services(
    server: Any, *, predictor: Predictor, lookup: ModelLookup, runner: Runner, states: VersionStates, metrics: Metrics
) -> None:
    """Registers both services with a `grpc.aio` server."""
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _PredictionService(predictor=predictor, lookup=lookup, runner=runner, metrics=metrics), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(states=states), server)


def deadline_of(context: Any, now_s: float) -> float:
    """The caller's deadline on the `time.monotonic` clock; infinity when there is none."""
    left_s = context.time_remaining()
    return float("inf") if left_s is None else now_s + float(left_s)


async def answered(context: Any, work: Callable[[], Any]) -> Any:
    """The result of `work`, or the call ends with its error's status."""
    try:
        return work()
    except Exception as error:
        await fail(context, as_serving_error(error))


async def fail(context: Any, error: ServingError) -> NoReturn:
    """Ends the call with the error's status."""
    abort: Awaitable[NoReturn] = context.abort(error.code, error.message)
    await abort
    raise AssertionError("abort always raises")
