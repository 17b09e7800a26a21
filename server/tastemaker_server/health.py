"""Health by named components, as the standard `grpc.health.v1` service shows it.

| name | SERVING when |
|---|---|
| `event_log` | the event log can be read |
| `online_store` | the online store can be read, and takes the events that the log gives |
| `model/NAME` | the model server has a version of NAME that can be called |
| `model/NAME/LABEL` | the same of the version behind a label, where a surface asks by one |
| `lists/NAME` | the lists behind PRECOMPUTED have an active generation that is young enough |
| `tastemaker.v1.FeedbackService` | `event_log` and `online_store` are |
| `tastemaker.v1.RecommendationService` | `online_store` is; models and lists may be away, other tiers answer then |
| `` (empty: the whole process) | both services are |

All are NOT_SERVING until the stores have caught up, and again from the moment when draining starts.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable

import grpc
from prometheus_client import CollectorRegistry, Gauge

from tastemaker_server.errors import StoreUnavailableError
from tastemaker_server.event_log import EventLog
from tastemaker_server.health_servicer import HealthServicer
from tastemaker_server.list_freshness import ListFreshness
from tastemaker_server.model_client import ModelClient, ModelUnavailableError, ServedModel
from tastemaker_server.online_store import OnlineStore
from tastemaker_server.projector import Projector

__all__ = ["HealthMonitor"]

_log = logging.getLogger(__name__)
_PERIOD_SECONDS = 1.0
_CHECK_TIMEOUT_SECONDS = 2.0
_SERVICES = ("", "tastemaker.v1.FeedbackService", "tastemaker.v1.RecommendationService")


class HealthMonitor:
    """Looks at each component every second."""

    def __init__(
        self,
        *,
        event_log: EventLog,
        online_store: OnlineStore,
        projector: Projector,
        model_client: ModelClient,
        models: Iterable[ServedModel],
        list_freshness: ListFreshness,
        registry: CollectorRegistry,
    ) -> None:
        self.servicer = HealthServicer()
        """To be registered with the server."""
        self._event_log = event_log
        self._online_store = online_store
        self._projector = projector
        self._model_client = model_client
        self._models = sorted(models)
        self._list_freshness = list_freshness
        self._shown: dict[str, bool] = {}
        self._model_problems: dict[ServedModel, grpc.StatusCode | None] = {}
        self._gauge = Gauge(
            "tastemaker_front_health",
            "1 where health shows SERVING; the whole process is `front`.",
            ("component",),
            registry=registry,
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Makes every component known as NOT_SERVING; `watch` then says what is true."""
        models = [f"model/{model}" for model in self._models]
        lists = [f"lists/{name}" for name in self._list_freshness.names]
        for name in (*_SERVICES, "event_log", "online_store", *models, *lists):
            await self._show(name, serving=False)

    async def watch(self) -> None:
        """Looks once, and goes on in the background."""
        await self._look()
        self._task = asyncio.create_task(self._run(), name="health")

    async def drain(self) -> None:
        """Shows NOT_SERVING for everything from now on."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.servicer.drain()
        for name in self._shown:
            self._gauge.labels(name or "front").set(0)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_SECONDS)
            try:
                await self._look()
            except Exception:  # a defect here must not freeze what health shows
                _log.exception("health check failed")

    async def _look(self) -> None:
        async def follow_log() -> None:
            self._projector.check()
            await self._online_store.check()

        lists = await self._fresh_lists()
        (event_log, online_store), problems = await asyncio.gather(
            asyncio.gather(_is_well(self._event_log.check), _is_well(follow_log)),
            asyncio.gather(*(self._why_not(model) for model in self._models)),
        )
        await self._show("event_log", event_log)
        await self._show("online_store", online_store)
        for model, problem in zip(self._models, problems, strict=True):
            self._tell(model, problem)
            await self._show(f"model/{model}", problem is None)
        for name in self._list_freshness.names:
            await self._show(f"lists/{name}", name in lists)
        await self._show("tastemaker.v1.FeedbackService", event_log and online_store)
        await self._show("tastemaker.v1.RecommendationService", online_store)
        await self._show("", event_log and online_store)

    async def _fresh_lists(self) -> set[str]:
        """The sets of lists that are fresh; none where the store cannot be read, which `online_store` shows."""
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_SECONDS):
                return {name for name in self._list_freshness.names if await self._list_freshness.is_fresh(name)}
        except (StoreUnavailableError, TimeoutError):
            return set()

    async def _why_not(self, model: ServedModel) -> ModelUnavailableError | None:
        """What stands between callers and the model; None where nothing does."""
        try:
            await self._model_client.check(model, _CHECK_TIMEOUT_SECONDS)
        except ModelUnavailableError as error:
            return error
        return None

    def _tell(self, model: ServedModel, problem: ModelUnavailableError | None) -> None:
        """Logs why a model cannot be asked, once for each kind of reason: a text may differ from server to server."""
        code = problem.code if problem is not None else None
        if problem is not None and code != self._model_problems.get(model):
            _log.warning("a model cannot be asked, other tiers answer: %s", problem)
        self._model_problems[model] = code

    async def _show(self, name: str, serving: bool) -> None:
        if self._shown.get(name) == serving:
            return
        if name in self._shown:
            _log.info("health of %s: %s", name or "the front", "SERVING" if serving else "NOT_SERVING")
        self._shown[name] = serving
        self._gauge.labels(name or "front").set(serving)
        await self.servicer.set(name, serving=serving)


async def _is_well(check: Callable[[], Awaitable[None]]) -> bool:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_SECONDS):
            await check()
    except (StoreUnavailableError, TimeoutError) as error:
        _log.warning("health check: %s", error or "timed out")
        return False
    return True
