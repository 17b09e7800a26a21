"""The composition root: flags in, a running model server out.

The order of a start is TensorFlow Serving's: read the config, load every model, and only then open the ports. Of a
stop: health says NOT_SERVING, calls in flight finish within a grace period, then the process ends.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from tastemaker_modelserver.batching import AdaptiveBatcher, Executor
from tastemaker_modelserver.batching_parameters import BatchingParameters, read_batching_parameters
from tastemaker_modelserver.call_log import CallLog
from tastemaker_modelserver.errors import CancelledCallError
from tastemaker_modelserver.examples import ExampleTasks
from tastemaker_modelserver.fixed_batching import FixedBatcher
from tastemaker_modelserver.flags import WITHOUT_EFFECT, Flags
from tastemaker_modelserver.grpc_server import GrpcServer
from tastemaker_modelserver.lookup import ModelLookup
from tastemaker_modelserver.manager import VersionManager
from tastemaker_modelserver.memory import keep_freed_memory
from tastemaker_modelserver.metrics import Metrics
from tastemaker_modelserver.model_config import ModelSettings
from tastemaker_modelserver.poller import FolderPoller
from tastemaker_modelserver.predict import Predictor
from tastemaker_modelserver.reload import ConfigFileWatch, ServedModels
from tastemaker_modelserver.rest import RestServer
from tastemaker_modelserver.runner import Runner
from tastemaker_modelserver.servable import Servable
from tastemaker_modelserver.services import ModelService, PredictionService
from tastemaker_modelserver.session import start_threads
from tastemaker_modelserver.session_config import session_config
from tastemaker_modelserver.states import VersionStates
from tastemaker_modelserver.text_config import monitoring_config
from tastemaker_modelserver.version_loader import VersionLoader

__all__ = ["ModelServer", "run"]

_log = logging.getLogger(__name__)

_GRACE_S = 10.0
_MAX_BATCH_ROWS = 128
_METRICS_PATH = "/monitoring/prometheus/metrics"
_SWITCH_INTERVAL_S = 0.001
_YOUNG_OBJECTS = 20_000
"""New objects before a collection. Calls leave no cycles: with Python's 700, looking for them took a tenth of each."""


class ModelServer:
    """One process's worth of model server."""

    def __init__(self, flags: Flags, models: Sequence[ModelSettings], *, slow_call_milliseconds: int) -> None:
        """Wires everything; nothing is loaded or open yet.

        Raises:
            InvalidArgumentError: A file that the flags name does not parse.
        """
        self._flags = flags
        self._models = models
        metrics = Metrics()
        states = VersionStates(metrics=metrics)
        self._batching = (
            read_batching_parameters(Path(flags.batching_parameters_file))
            if flags.batching_parameters_file
            else BatchingParameters()
        )
        self._metrics = metrics
        self._session_config = session_config(flags)
        metrics_path = _metrics_path(flags)
        # The lookup borrows from the manager, whose loader warms up through the predictor, which looks models up.
        self._lookup = ModelLookup(states=states)
        predictor = Predictor(
            lookup=self._lookup,
            as_content=flags.enable_serialization_as_tensor_content,
            check_method_name=flags.enable_signature_method_name_check,
        )
        examples = ExampleTasks(
            lookup=self._lookup, metrics=metrics, check_method_name=flags.enable_signature_method_name_check
        )
        self._loader = VersionLoader(
            predictor=predictor,
            examples=examples,
            metrics=metrics,
            tags=flags.saved_model_tags.split(","),
            session_config=self._session_config,
            warm_up=flags.enable_model_warmup,
            warmup_iterations=max(1, flags.num_request_iterations_for_warmup),
            own_batching=bool(flags.enable_batching) and flags.enable_per_model_batching_parameters,
        )
        self._manager: VersionManager[Servable] = VersionManager(
            load=self._loader,
            states=states,
            max_load_retries=flags.max_num_load_retries,
            load_retry_interval_s=flags.load_retry_interval_micros / 1e6,
            load_threads=flags.num_load_threads,
        )
        self._lookup.manager = self._manager
        self._poller = FolderPoller(manager=self._manager, interval_s=flags.file_system_poll_wait_seconds)
        self._served = ServedModels(
            manager=self._manager,
            states=states,
            lookup=self._lookup,
            poller=self._poller,
            allow_unavailable_labels=flags.allow_version_labels_for_unavailable_models,
        )
        self._watch = ConfigFileWatch(
            Path(flags.model_config_file),
            served=self._served,
            interval_s=flags.model_config_file_poll_wait_seconds if flags.model_config_file else 0,
        )
        self._executor = self._make_executor()
        runner = Runner(executor=self._executor, metrics=metrics)
        call_log = CallLog(slow_call_milliseconds=slow_call_milliseconds)
        prediction = PredictionService(
            predictor=predictor,
            examples=examples,
            lookup=self._lookup,
            runner=runner,
            metrics=metrics,
            call_log=call_log,
        )
        self._model_service = ModelService(states=states, served=self._served, metrics=metrics)
        self._grpc = GrpcServer(
            flags, {**prediction.handlers, **self._model_service.handlers}, when_idle=self._executor.flush
        )
        self._rest = RestServer(
            predictor=predictor,
            examples=examples,
            lookup=self._lookup,
            runner=runner,
            states=states,
            metrics=metrics,
            call_log=call_log,
            timeout_s=flags.rest_api_timeout_in_ms / 1000,
            threads=flags.rest_api_num_threads,
            cors=flags.rest_api_enable_cors_support,
            metrics_path=metrics_path,
        )

    async def serve(self) -> None:
        """Loads, opens the ports, serves until SIGTERM or SIGINT, and drains.

        Raises:
            ServingError: A model could not be loaded, or a port is taken.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        # What TensorFlow's import left on the heap lives as long as the process. Out of the collector's sight, a
        # collection after unloading a version takes milliseconds instead of a second with the GIL held.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG_OBJECTS)
        start_threads(self._session_config.SerializeToString())
        try:
            self._served.replace(self._models)
            self._poller.start()
            if await self._loaded(stop):
                await self._open_until(stop)
        finally:
            self._watch.close()
            self._poller.close()
            await asyncio.to_thread(self._executor.close)
            self._manager.close()

    async def _loaded(self, stop: asyncio.Event) -> bool:
        """Waits for a version of every model; False when told to stop meanwhile."""
        names = [model.name for model in self._models]
        try:
            await asyncio.to_thread(self._served.wait_for, names, cancelled=stop.is_set)
        except CancelledCallError:
            return False
        return True

    async def _open_until(self, stop: asyncio.Event) -> None:
        self._watch.start()
        self._loader.gives_way = True
        self._grpc.start()
        try:
            if self._flags.rest_api_port:
                await self._rest.start(self._flags.rest_api_port)
                _log.info("Exporting HTTP/REST API at:localhost:%d ...", self._flags.rest_api_port)
            await stop.wait()
            _log.info("Stopping: calls in flight have %.0f s to finish", _GRACE_S)
        finally:
            await asyncio.to_thread(self._grpc.stop, _GRACE_S)
            await self._rest.stop()
            await asyncio.to_thread(self._model_service.close)

    def _make_executor(self) -> Executor:
        if self._flags.enable_batching:
            return FixedBatcher(
                self._batching,
                per_version=self._flags.enable_per_model_batching_parameters,
                metrics=self._metrics,
            )
        return AdaptiveBatcher(
            metrics=self._metrics,
            workers=4 * (os.cpu_count() or 1),
            runs_at_once=self._session_config.inter_op_parallelism_threads or os.cpu_count() or 1,
            max_batch_rows=_MAX_BATCH_ROWS,
            batch=self._flags.enable_batching is None,
        )


def run(flags: Flags, models: Sequence[ModelSettings], *, slow_call_milliseconds: int) -> None:
    """Runs a model server until it is told to stop.

    Args:
        flags: The command line.
        models: What to serve.
        slow_call_milliseconds: From when on a call that went well has a line in the log.

    Raises:
        ServingError: It could not start.
    """
    tf.get_logger().setLevel(logging.ERROR)  # the TF1 loader announces its deprecation on each start
    for name in WITHOUT_EFFECT:
        if getattr(flags, name) != getattr(Flags(), name):
            _log.warning("--%s is accepted and has no effect here", name)
    keep_freed_memory()
    # A worker that comes back from a run waits this long for the thread that takes calls to let go of the GIL.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    asyncio.run(ModelServer(flags, models, slow_call_milliseconds=slow_call_milliseconds).serve())


def _metrics_path(flags: Flags) -> str:
    if not flags.monitoring_config_file:
        return ""
    prometheus = monitoring_config(Path(flags.monitoring_config_file)).prometheus_config
    return str(prometheus.path or _METRICS_PATH) if prometheus.enable else ""
