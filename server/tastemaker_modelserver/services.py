"""The gRPC services: PredictionService and ModelService.

Each method checks and hands over; errors become statuses in one place, and every call is counted under the model's
name, as TensorFlow Serving counts it. A call ends on the thread that has its answer.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from tastemaker_modelserver.call_log import CallLog
from tastemaker_modelserver.call_server import Call, Handler
from tastemaker_modelserver.errors import InternalError, InvalidArgumentError, ServingError, as_serving_error
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

__all__ = ["ModelService", "PredictionService"]

_log = logging.getLogger(__name__)
_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"
_RELOADS_AT_ONCE = 4


class PredictionService:
    """Predict, Classify, Regress, MultiInference and GetModelMetadata."""

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
        """Keeps what calls need.

        Args:
            predictor: Checks Predict.
            examples: Checks Classify, Regress and MultiInference.
            lookup: Finds versions.
            runner: Runs jobs.
            metrics: Where calls are counted.
            call_log: Where those that fail or are slow have a line.
        """
        self._lookup = lookup
        self._runner = runner
        self._metrics = metrics
        self._call_log = call_log
        runs: dict[str, tuple[Any, Callable[..., Job]]] = {
            "Predict": (predict_pb2.PredictRequest, predictor.job),
            "Classify": (classification_pb2.ClassificationRequest, examples.classify),
            "Regress": (regression_pb2.RegressionRequest, examples.regress),
            UNCOUNTED_API: (inference_pb2.MultiInferenceRequest, examples.multi_inference),
        }
        self.handlers: Mapping[str, Handler] = {
            f"{_PREDICTION}{api}": self._runs(api, kind, check) for api, (kind, check) in runs.items()
        } | {f"{_PREDICTION}GetModelMetadata": _answers(get_model_metadata_pb2.GetModelMetadataRequest, self._metadata)}
        """Method → what takes its calls."""

    def _metadata(self, request: Any) -> Any:
        return model_metadata(request, self._lookup)

    def _runs(self, api: str, kind: Any, check: Callable[..., Job]) -> Handler:
        def take(call: Call) -> None:
            run = _Run(call, api, self._metrics, self._call_log)
            try:
                request = _parsed(kind, call)
                if api != UNCOUNTED_API:
                    run.name = request.model_spec.name
                run.job = job = check(request, deadline_s=call.deadline_s)
            except ServingError as error:
                run.done(None, error)
                return
            call.when_cancelled(run.cancel)
            self._runner.start(job, run.done, api=api, entrypoint="GRPC", started_s=run.started_s)

        return take


class _Run:
    """A call that runs a model."""

    __slots__ = ("_api", "_call", "_call_log", "_metrics", "job", "name", "started_s")

    def __init__(self, call: Call, api: str, metrics: Metrics, call_log: CallLog) -> None:
        self._call = call
        self._api = api
        self._metrics = metrics
        self._call_log = call_log
        self.job: Job | None = None
        self.name = ""
        """The model's, as the caller gave it."""
        self.started_s = time.monotonic()

    def done(self, answer: Any, error: ServingError | None) -> None:
        """Ends the call, and counts it."""
        if error is None:
            status, message = "OK", ""
            self._call.reply(answer.SerializeToString())
        else:
            status, message = error.code.name, error.message
            self._call.fail(error.code, message)
        if self.job is not None and self.job.cancelled:  # whatever became of the run, nobody was told
            status, message = grpc.StatusCode.CANCELLED.name, ""
        if self._api != UNCOUNTED_API:
            self._metrics.request_count.add(self.name, status)
        self._call_log.finished(
            f"{_PREDICTION}{self._api}",
            model=self.name,
            code=status,
            started_s=self.started_s,
            sent=self._sent,
            message=message,
        )

    def cancel(self) -> None:
        """The caller went away, or its deadline passed: of the deadline the job itself takes notice."""
        if self.job is not None and time.monotonic() < self._call.deadline_s:
            self.job.cancelled = True

    def _sent(self) -> Sequence[tuple[str, Any]]:
        return self._call.metadata


class ModelService:
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, *, states: VersionStates, served: ServedModels, metrics: Metrics) -> None:
        """Keeps what calls need.

        Args:
            states: What GetModelStatus reads.
            served: What a reload replaces.
            metrics: What a reload can be asked for.
        """
        self._states = states
        self._served = served
        self._metrics = metrics
        self._reloads = ThreadPoolExecutor(_RELOADS_AT_ONCE, thread_name_prefix="reload")
        self.handlers: Mapping[str, Handler] = {
            f"{_MODEL}GetModelStatus": _answers(get_model_status_pb2.GetModelStatusRequest, self._status),
            f"{_MODEL}HandleReloadConfigRequest": self._take_reload,
        }
        """Method → what takes its calls."""

    def close(self) -> None:
        """Ends the threads; no call may be in flight."""
        self._reloads.shutdown()

    def _status(self, request: Any) -> Any:
        return model_status(request, self._states)

    def _take_reload(self, call: Call) -> None:
        gone = threading.Event()
        call.when_cancelled(gone.set)

        def reload(request: Any) -> Any:
            before = {name: self._metrics.total(name) for name in request.metric_names}
            self._reload(request.config, call.deadline_s, gone)
            response = model_management_pb2.ReloadConfigResponse()
            response.status.error_code = 0
            for name, value in before.items():
                response.metric.add(name=name, int64_value_increase=self._metrics.total(name) - value)
            return response

        self._reloads.submit(_answers(model_management_pb2.ReloadConfigRequest, reload), call)

    def _reload(self, config: Any, deadline_s: float, gone: threading.Event) -> None:
        try:
            if config.WhichOneof("config") != "model_config_list":
                raise InvalidArgumentError(
                    "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is "
                    "currently supported"
                )
            models = from_proto(config)
            new = self._served.replace(models)
            _log.info("The reload call put models %s into force", [model.name for model in models])
            labelled = {model.name for model in models if model.labels}
            self._served.wait_for(sorted(new | labelled), deadline_s=deadline_s, cancelled=gone.is_set)
        except ServingError as error:
            _log.error("ReloadConfig failed: %s", error)  # the caller's mistake, not a crash
            raise


def _answers(kind: Any, answer: Callable[[Any], Any]) -> Handler:
    """A handler that answers at once."""

    def take(call: Call) -> None:
        try:
            message = answer(_parsed(kind, call)).SerializeToString()
        except Exception as error:
            if not isinstance(error, ServingError):
                _log.exception("A call failed for a reason that is ours")
            failure = as_serving_error(error)
            call.fail(failure.code, failure.message)
        else:
            call.reply(message)

    return take


def _parsed(kind: Any, call: Call) -> Any:
    """The request.

    Raises:
        InternalError: It is none; the code is that of gRPC's C++ servers.
    """
    try:
        return kind.FromString(call.request)
    except DecodeError as error:
        raise InternalError(f"The message is no {kind.DESCRIPTOR.full_name}: {error}") from error
