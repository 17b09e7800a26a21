"""The composition root: flags in, a running model server out.

The order of a start is the order of TensorFlow Serving: read the config, load every model, and only then open the
ports. Of a
stop: health says NOT_SERVING, calls in flight finish within a grace period, then the process ends.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tastemaker_modelserver.batching import AdaptiveBatcher, Executor
from tastemaker_modelserver.errors import ServingError, UnavailableError, UnknownError
from tastemaker_modelserver.flags import WITHOUT_EFFECT, Flags
from tastemaker_modelserver.jobs import run_jobs
from tastemaker_modelserver.lookup import ModelLookup
from tastemaker_modelserver.manager import Lease, VersionManager
from tastemaker_modelserver.memory import keep_freed_memory
from tastemaker_modelserver.metrics import Metrics
from tastemaker_modelserver.model_config import ModelSettings
from tastemaker_modelserver.poller import FolderPoller
from tastemaker_modelserver.predict import Predictor
from tastemaker_modelserver.servable import Servable, load_saved_model
from tastemaker_modelserver.services import Runner, add_services
from tastemaker_modelserver.sessions import session_config
from tastemaker_modelserver.states import VersionStates
from tastemaker_modelserver.warmup import replay_warmup

__all__ = ["ModelServer", "run"]

_log = logging.getLogger(__name__)

_HEALTH_NAMES = ("", "ModelService", "PredictionService")
_GRACE_S = 10.0
_MAX_BATCH_ROWS = 128
_UNLIMITED = 2**31 - 1


class ModelServer:
    """One process's worth of model server."""

    def __init__(self, flags: Flags, models: Sequence[ModelSettings]) -> None:
        self._flags = flags
        self._models = models
        self._metrics = Metrics()
        self._states = VersionStates()
        self._session_config = session_config(flags)
        self._manager: VersionManager[Servable] = VersionManager(
            load=self._load,
            states=self._states,
            max_load_retries=flags.max_num_load_retries,
            load_retry_interval_s=flags.load_retry_interval_micros / 1e6,
            load_threads=flags.num_load_threads,
        )
        self._lookup = ModelLookup(manager=self._manager, states=self._states)
        self._predictor = Predictor(
            lookup=self._lookup,
            as_content=flags.enable_serialization_as_tensor_content,
            check_method_name=flags.enable_signature_method_name_check,
        )
        self._poller = FolderPoller(manager=self._manager, interval_s=flags.file_system_poll_wait_seconds)
        self._health = health.aio.HealthServicer()

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
        self._lookup.set_labels(self._models, allow_unavailable=self._flags.allow_version_labels_for_unavailable_models)
        self._poller.start(self._models)
        executor = self._executor()
        try:
            if await self._loaded(stop):
                await self._serve_until(stop, executor)
        finally:
            self._poller.close()
            await asyncio.to_thread(executor.close)
            self._manager.close()

    def _executor(self) -> Executor:
        workers = max(2, os.cpu_count() or 1)
        return AdaptiveBatcher(
            metrics=self._metrics,
            workers=workers,
            max_batch_rows=_MAX_BATCH_ROWS,
            batch=self._flags.enable_batching is not False,
        )

    async def _loaded(self, stop: asyncio.Event) -> bool:
        """Waits for a version of every model; False when told to stop meanwhile."""
        names = [model.name for model in self._models]
        waiting = asyncio.create_task(asyncio.to_thread(self._wait_for_models, names, stop))
        await waiting
        return not stop.is_set()

    def _wait_for_models(self, names: Sequence[str], stop: asyncio.Event) -> None:
        failed: dict[str, Mapping[int, ServingError]] = {}

        def settled() -> bool:
            failed.update({name: errors for name in names if (errors := self._manager.failures(name))})
            return self._states.serving(names) or bool(failed)

        while not stop.is_set() and not self._states.wait_until(settled, timeout_s=0.2):
            pass
        if failed and not stop.is_set():
            reasons = ", ".join(
                f"{{name: {name} version: {version}}} due to error: {error}"
                for name, errors in failed.items()
                for version, error in errors.items()
            )
            raise UnknownError(f"{len(failed)} servable(s) did not become available: {{{reasons}}}")

    async def _serve_until(self, stop: asyncio.Event, executor: Executor) -> None:
        server = grpc.aio.server(options=self._channel_options())
        add_services(
            server,
            predictor=self._predictor,
            lookup=self._lookup,
            runner=Runner(executor=executor, metrics=self._metrics),
            states=self._states,
            metrics=self._metrics,
        )
        if self._flags.enable_grpc_healthcheck_service:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
            for name in _HEALTH_NAMES:
                await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        addresses = self._bind(server)
        await server.start()
        for address in addresses:
            _log.info("Running gRPC ModelServer at %s ...", address)
        await stop.wait()
        _log.info("Stopping: calls in flight have %.0f s to finish", _GRACE_S)
        await self._health.enter_graceful_shutdown()
        await server.stop(_GRACE_S)

    def _bind(self, server: Any) -> list[str]:
        addresses = [f"0.0.0.0:{self._flags.port}"] if self._flags.port else []
        if self._flags.grpc_socket_path:
            addresses.append(f"unix:{self._flags.grpc_socket_path}")
        for address in addresses:
            try:
                bound = server.add_insecure_port(address)
            except RuntimeError as error:
                raise UnavailableError(f"Cannot listen on {address}: {error}") from error
            if not bound and not address.startswith("unix:"):
                raise UnavailableError(f"Cannot listen on {address}: it is taken")
        return addresses

    def _channel_options(self) -> list[tuple[str, object]]:
        options: dict[str, object] = {
            "grpc.max_receive_message_length": _UNLIMITED,
            "grpc.max_send_message_length": _UNLIMITED,
            # gRPC would share the port with another process that asks for the same, and each would get half of the
            # calls.
            "grpc.so_reuseport": 0,
        }
        for pair in filter(None, self._flags.grpc_channel_arguments.split(",")):
            key, _, value = pair.partition("=")
            options[key] = int(value) if value.lstrip("-").isdigit() else value
        return list(options.items())

    def _load(self, model: str, version: int, path: Path) -> Servable:
        _log.info("Loading servable version {name: %s version: %d} from %s", model, version, path)
        servable = load_saved_model(path, tags=self._flags.saved_model_tags.split(","), config=self._session_config)
        try:
            if self._flags.enable_model_warmup:
                lease = Lease(servable, version)
                replay_warmup(
                    path,
                    lambda log: self._warm(lease, log),
                    iterations=max(1, self._flags.num_request_iterations_for_warmup),
                    metrics=self._metrics,
                )
        except BaseException:
            servable.close()
            raise
        return servable

    def _warm(self, lease: Lease[Servable], log: Any) -> None:
        if log.WhichOneof("log_type") != "predict_log":
            return
        job = self._predictor.job_on(lease, log.predict_log.request, deadline_s=float("inf"))
        ((_, error),) = run_jobs([job])
        if error is not None:
            raise error


def run(flags: Flags, models: Sequence[ModelSettings]) -> None:
    """Runs a model server until it is told to stop.

    Raises:
        ServingError: It could not start.
    """
    tf.get_logger().setLevel(logging.ERROR)  # the TF1 loader announces its deprecation on each start
    for name in WITHOUT_EFFECT:
        if getattr(flags, name) != getattr(Flags(), name):
            _log.warning("--%s is accepted and has no effect here", name)
    keep_freed_memory()
    # A worker that comes back from a run waits this long for the event loop to let go of the GIL.
    sys.setswitchinterval(0.001)
    asyncio.run(ModelServer(flags, models).serve())
