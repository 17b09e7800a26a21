"""The composition root: makes the parts of a front from its settings, runs them, and takes them down in order."""

import asyncio
import logging
import signal
import time
from pathlib import Path
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry, ProcessCollector

from tastemaker.v1 import (
    feedback_service_pb2,
    feedback_service_pb2_grpc,
    recommendation_service_pb2,
    recommendation_service_pb2_grpc,
)
from tastemaker_server.attribution import AttributionSigner, load_or_make_key
from tastemaker_server.call_interceptor import CallInterceptor
from tastemaker_server.call_log import CallLog
from tastemaker_server.connections import connection_options
from tastemaker_server.errors import SettingsError, StoreUnavailableError
from tastemaker_server.event_log.opening import open_event_log
from tastemaker_server.feedback_service import FeedbackService
from tastemaker_server.grpc_port import GrpcPort
from tastemaker_server.health import HealthMonitor
from tastemaker_server.list_freshness import ListFreshness, max_list_age_hours
from tastemaker_server.metrics.calls import CallMetrics
from tastemaker_server.metrics.endpoint import MetricsEndpoint
from tastemaker_server.metrics.feedback import FeedbackMetrics
from tastemaker_server.metrics.loop_delay import LoopDelayMetrics
from tastemaker_server.metrics.models import ModelMetrics
from tastemaker_server.metrics.pages import PageMetrics
from tastemaker_server.metrics.stores import StoreMetrics, names_of_lists
from tastemaker_server.model_client import ModelClient, ServedModel
from tastemaker_server.online_store.factory import open_online_store
from tastemaker_server.projector import Projector
from tastemaker_server.recommend_service import RecommendService
from tastemaker_server.recommender import Recommender
from tastemaker_server.settings import Settings
from tastemaker_server.tiers.live_model import LiveModelTier
from tastemaker_server.tiers.popular import PopularTier
from tastemaker_server.tiers.precomputed import PrecomputedTier

__all__ = ["Front", "serve"]

_log = logging.getLogger(__name__)
# How long events that came in through another front may stay unknown to this one.
_SHARED_LOG_POLL_SECONDS = 0.2
_OWN_LOG_POLL_SECONDS = 1.0


class Front:
    """One front process: `start`, then `stop`."""

    def __init__(self, settings: Settings) -> None:
        """Opens the stores.

        Raises:
            SettingsError: `server.data_dir` or `stores.online_store` cannot be used.
            StoreUnavailableError: A store cannot be opened.
        """
        self._settings = settings
        data_dir = settings.server.data_dir
        signer = AttributionSigner(_prepare(data_dir))
        self._event_log = open_event_log(settings)
        self._online_store = open_online_store(settings)
        self._projector = Projector(
            event_log=self._event_log,
            online_store=self._online_store,
            poll_seconds=_OWN_LOG_POLL_SECONDS if settings.stores.event_log == "sqlite" else _SHARED_LOG_POLL_SECONDS,
        )
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._endpoint = MetricsEndpoint(address=settings.metrics.address, registry=registry)
        self._store_metrics = StoreMetrics(
            registry=registry,
            event_log=self._event_log,
            online_store=self._online_store,
            projector=self._projector,
            list_names=names_of_lists(settings.surfaces),
            now_micros=_now_micros,
        )
        self._loop_delay = LoopDelayMetrics(registry=registry, monotonic=time.monotonic)
        models = {
            ServedModel(surface.model, surface.version_label or "")
            for surface in settings.surfaces.values()
            if surface.model is not None
        }
        self._model_client = ModelClient(
            settings.model_server.address,
            metrics=ModelMetrics(registry=registry, models={model.name for model in models}),
        )
        self._health = HealthMonitor(
            event_log=self._event_log,
            online_store=self._online_store,
            projector=self._projector,
            model_client=self._model_client,
            models=models,
            list_freshness=ListFreshness(
                online_store=self._online_store,
                max_age_hours=max_list_age_hours(settings.surfaces),
                now_micros=_now_micros,
            ),
            registry=registry,
        )
        recommender = Recommender(
            tiers=[
                LiveModelTier(model_client=self._model_client, monotonic=time.monotonic),
                PrecomputedTier(online_store=self._online_store),
                PopularTier(online_store=self._online_store, monotonic=time.monotonic),
            ],
            online_store=self._online_store,
            metrics=PageMetrics(registry=registry, surfaces=settings.surfaces),
            monotonic=time.monotonic,
            now_micros=_now_micros,
        )
        recommend_service = RecommendService(
            recommender=recommender, surfaces=settings.surfaces, signer=signer, now_micros=_now_micros
        )
        feedback_service = FeedbackService(
            event_log=self._event_log,
            projector=self._projector,
            metrics=FeedbackMetrics(registry=registry),
            settings=settings.feedback,
            signer=signer,
            now_micros=_now_micros,
        )
        self._port = GrpcPort(
            interceptors=[
                CallInterceptor(
                    metrics=CallMetrics(registry=registry, monotonic=time.monotonic),
                    log=CallLog(slow_call_milliseconds=settings.logging.slow_call_milliseconds),
                    monotonic=time.monotonic,
                )
            ],
            options=connection_options(settings.server),
            shared_with_others=settings.server.reuse_port,
        )
        services = [
            recommendation_service_pb2.DESCRIPTOR.services_by_name["RecommendationService"].full_name,
            feedback_service_pb2.DESCRIPTOR.services_by_name["FeedbackService"].full_name,
            health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
            reflection.SERVICE_NAME,
        ]

        def add_to(server: Any) -> None:
            recommendation_service_pb2_grpc.add_RecommendationServiceServicer_to_server(recommend_service, server)
            feedback_service_pb2_grpc.add_FeedbackServiceServicer_to_server(feedback_service, server)
            health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, server)
            reflection.enable_server_reflection(services, server)

        self._port.add_services(add_to)

    async def start(self) -> int:
        """Listens, catches up with the event log, and turns health to SERVING. Returns the port.

        Raises:
            SettingsError: An address cannot be listened on.
            StoreUnavailableError: A store cannot be read or written.
        """
        address = self._settings.server.address
        try:
            port = self._port.open(address)
        except OSError as error:
            problem = "the port is taken or the host is not this machine's; stop the other process or choose another"
            raise SettingsError([f"server.address: cannot listen on {address}: {problem}"]) from error
        self._endpoint.start()
        await self._health.start()
        await self._port.start()
        try:
            await self._projector.catch_up()
        except StoreUnavailableError:
            await self._port.stop(0)
            await self._endpoint.stop()
            await self._model_client.close()
            await self._event_log.close()
            await self._online_store.close()
            raise
        self._projector.start()
        self._store_metrics.start()
        self._loop_delay.start()
        await self._health.watch()
        return port

    async def stop(self) -> None:
        """Drains: health first, then no new calls, then those in flight finish; then the stores close."""
        await self._health.drain()
        await asyncio.sleep(self._settings.server.drain_delay_seconds)
        await self._health.servicer.end_watches()
        await self._port.stop(self._settings.server.drain_grace_seconds)
        await self._loop_delay.stop()
        await self._store_metrics.stop()
        await self._projector.stop()
        await self._model_client.close()
        await self._event_log.close()
        await self._online_store.close()
        await self._endpoint.stop()


async def serve(settings: Settings) -> None:
    """Runs a front until SIGTERM or SIGINT, then drains it."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    front = Front(settings)
    port = await front.start()
    host = settings.server.address.rpartition(":")[0]
    _log.info("serving on %s:%d; surfaces: %s", host, port, ", ".join(sorted(settings.surfaces)))
    await stop.wait()
    _log.info("draining")
    await front.stop()
    _log.info("ended")


def _prepare(data_dir: Path) -> bytes:
    """Makes the data folder and returns the signing key."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        return load_or_make_key(data_dir / "attribution.key")
    except (OSError, ValueError) as error:
        raise SettingsError([f"server.data_dir: {data_dir} cannot be used: {error}"]) from error


def _now_micros() -> int:
    return time.time_ns() // 1000
