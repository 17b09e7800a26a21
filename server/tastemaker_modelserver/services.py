"""The gRPC services: PredictionService and ModelService on `grpc.aio`.

Each method checks, hands over and waits; errors become statuses in one place, and every call is counted under the
model's name, as TensorFlow Serving counts it.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc, prediction_service_pb2_grpc

from tastemaker_modelserver.call_log import CallLog
from tastemaker_modelserver.errors import InvalidArgumentError, ServingError, as_serving_error
from tastemaker_modelserver.examples import ExampleTasks
from tastemaker_modelserver.jobs import Job
from tastemaker_modelserver.lookup import ModelLookup
from tastemaker_modelserver.metadata import model_metadata, model_status
from tastemaker_modelserver.metrics import Metrics
from tastemaker_modelserver.model_config import from_proto
from tastemaker_modelserver.predict import Predictor
from tastemaker_modelserver.reload import ServedModels
from tastemaker_modelserver.runner import UNCOUNTED_API, Runner
from tastemaker_modelserver.states import VersionStates

__all__ = ["add_services"]

_log = logging.getLogger(__name__)
_PATH = "/tensorflow.serving.PredictionService/"


def add_services(
    server: Any,
    *,
    predictor: Predictor,
    examples: ExampleTasks,
    lookup: ModelLookup,
    runner: Runner,
    states: VersionStates,
    served: ServedModels,
    metrics: Metrics,
    call_log: CallLog,
) -> None:
    """Registers both services with a `grpc.aio` server."""
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _PredictionService(
            predictor=predictor, examples=examples, lookup=lookup, runner=runner, metrics=metrics, call_log=call_log
        ),
        server,
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        _ModelService(states=states, served=served, metrics=metrics), server
    )


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]  # untyped stubs
    def __init__(
        self,
        *,
        predictor: Predictor,
        examples: ExampleTasks,
        lookup: ModelLookup,
        runner: Runner,
        metrics: Metrics,
        call_log: CallLog,
    ) -> None:
        self._predictor = predictor
        self._examples = examples
        self._lookup = lookup
        self._runner = runner
        self._metrics = metrics
        self._call_log = call_log

    async def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802  # the wire's name
        return await self._run(context, request, request.model_spec.name, "Predict", self._predictor.job)

    async def Classify(self, request: Any, context: Any) -> Any:  # noqa: N802  # the wire's name
        return await self._run(context, request, request.model_spec.name, "Classify", self._examples.classify)

    async def Regress(self, request: Any, context: Any) -> Any:  # noqa: N802  # the wire's name
        return await self._run(context, request, request.model_spec.name, "Regress", self._examples.regress)

    async def MultiInference(self, request: Any, context: Any) -> Any:  # noqa: N802  # the wire's name
        return await self._run(context, request, "", UNCOUNTED_API, self._examples.multi_inference)

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802  # the wire's name
        try:
            return model_metadata(request, self._lookup)
        except ServingError as error:
            return await _fail(context, error)

    async def _run(self, context: Any, request: Any, name: str, api: str, check: Callable[..., Job]) -> Any:
        started_s = time.monotonic()
        status, message = "CANCELLED", ""
        try:
            job = check(request, deadline_s=_deadline_of(context, started_s))
            answer = await self._runner.run(job, api=api, entrypoint="GRPC", started_s=started_s)
            status = "OK"
        except ServingError as error:
            status, message = error.code.name, error.message
            return await _fail(context, error)
        else:
            return answer
        finally:
            if api != UNCOUNTED_API:
                self._metrics.request_count.add(name, status)
            self._call_log.finished(
                f"{_PATH}{api}",
                model=name,
                code=status,
                started_s=started_s,
                sent=context.invocation_metadata,
                message=message,
            )


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]  # untyped stubs
    def __init__(self, *, states: VersionStates, served: ServedModels, metrics: Metrics) -> None:
        self._states = states
        self._served = served
        self._metrics = metrics

    async def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802  # the wire's name
        try:
            return model_status(request, self._states)
        except ServingError as error:
            return await _fail(context, error)

    async def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:  # noqa: N802  # the wire's name
        before = {name: self._metrics.total(name) for name in request.metric_names}
        try:
            await self._reload(request.config, _deadline_of(context, time.monotonic()))
        except ServingError as error:
            _log.error("ReloadConfig failed: %s", error)  # the caller's mistake, not a crash
            return await _fail(context, error)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = 0
        for name, value in before.items():
            response.metric.add(name=name, int64_value_increase=self._metrics.total(name) - value)
        return response

    async def _reload(self, config: Any, deadline_s: float) -> None:
        if config.WhichOneof("config") != "model_config_list":
            raise InvalidArgumentError(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        models = from_proto(config)
        gone = threading.Event()
        try:
            new = await asyncio.to_thread(self._served.replace, models)
            _log.info("The reload call put models %s into force", [model.name for model in models])
            labelled = {model.name for model in models if model.labels}
            await asyncio.to_thread(
                self._served.wait_for, sorted(new | labelled), deadline_s=deadline_s, cancelled=gone.is_set
            )
        except asyncio.CancelledError:
            gone.set()
            raise
        except ServingError:
            raise
        except Exception as error:
            raise as_serving_error(error) from error


def _deadline_of(context: Any, now_s: float) -> float:
    """The caller's deadline on the `time.monotonic` clock; infinity when there is none."""
    left_s = context.time_remaining()
    return float("inf") if left_s is None else now_s + float(left_s)


async def _fail(context: Any, error: ServingError) -> NoReturn:
    """Ends the call with the error's status."""
    abort: Awaitable[NoReturn] = context.abort(error.code, error.message)
    await abort
    raise AssertionError("abort always raises")
