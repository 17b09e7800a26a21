"""How far the online store is behind the event log, who waits for a commit, which lists are served and how old.

Looked at every few seconds, whether somebody scrapes or not, so that a store that hangs never holds up a scrape. What
cannot be read is left out: no line is better than a line that has stopped moving.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tastemaker.artefacts.v1.lists_pb2 import ListGeneration, ListKey
from tastemaker_server.errors import StoreUnavailableError
from tastemaker_server.event_log import EventLog
from tastemaker_server.online_store import OnlineStore
from tastemaker_server.projector import Projector
from tastemaker_server.settings import SurfaceSettings

__all__ = ["StoreMetrics", "names_of_lists"]

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_PERIOD_SECONDS = 2.0
_TIMEOUT_SECONDS = 2.0


def names_of_lists(surfaces: Mapping[str, SurfaceSettings]) -> set[str]:
    """Every set of lists that some surface reads."""
    names = {surface.lists or name for name, surface in surfaces.items()}
    return names | {surface.popular_lists for surface in surfaces.values() if surface.popular_lists is not None}


@dataclass(frozen=True, slots=True)
class _Lag:
    positions: int
    seconds: float


class StoreMetrics(Collector):
    """One per process. `start`, and `stop` at the end."""

    def __init__(
        self,
        *,
        registry: CollectorRegistry,
        event_log: EventLog,
        online_store: OnlineStore,
        projector: Projector,
        list_names: Iterable[str],
        now_micros: Callable[[], int],
    ) -> None:
        self._event_log = event_log
        self._online_store = online_store
        self._projector = projector
        self._list_names = sorted(list_names)
        self._now_micros = now_micros
        self._lag: _Lag | None = None
        self._lists: Mapping[str, ListGeneration] = {}
        self._task: asyncio.Task[None] | None = None
        registry.register(self)

    async def look(self) -> None:
        """Looks once; a store that cannot be read, or not now, has nothing to show."""
        self._lag = await self._read(self._read_lag(), None)
        self._lists = await self._read(self._read_lists(), {})

    def start(self) -> None:
        """Looks from now on."""
        self._task = asyncio.create_task(self._run(), name="store-metrics")

    async def stop(self) -> None:
        """Ends the background task."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def describe(self) -> list[Metric]:
        """The names, for the registry, which would otherwise collect to learn them."""
        return list(_families())

    def collect(self) -> list[Metric]:
        """What was seen last. From any thread."""
        positions, seconds, waiting, generation, age = families = _families()
        lag, lists = self._lag, self._lists
        if lag is not None:
            positions.add_metric((), lag.positions)
            seconds.add_metric((), lag.seconds)
        waiting.add_metric((), self._event_log.waiting_appends)
        for name, info in lists.items():
            labels = (name, ListKey.Name(info.key).removeprefix("LIST_KEY_").lower())
            generation.add_metric(labels, info.generation)
            age.add_metric(labels, (self._now_micros() - info.created_time_micros) / 1e6)
        return list(families)

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_PERIOD_SECONDS)

    async def _read(self, reading: Coroutine[None, None, _T], otherwise: _T) -> _T:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                return await reading
        except (StoreUnavailableError, TimeoutError):  # health says so, and logs it
            return otherwise
        except Exception:  # a defect here must not freeze what is shown
            _log.exception("looking at the stores failed")
            return otherwise

    async def _read_lag(self) -> _Lag | None:
        last = await self._event_log.last_position()
        applied = self._projector.applied_position
        waiting = await self._event_log.read(applied, 1) if last > applied else []
        if not waiting:  # positions have gaps where users were erased
            return _Lag(0, 0.0)
        return _Lag(last - applied, max(0, self._now_micros() - waiting[0].received_time_micros) / 1e6)

    async def _read_lists(self) -> Mapping[str, ListGeneration]:
        found = {name: await self._online_store.list_generations(name) for name in self._list_names}
        return {name: generations[0] for name, generations in found.items() if generations}


def _families() -> tuple[GaugeMetricFamily, ...]:
    labels = ("lists", "kind")
    return (
        GaugeMetricFamily(
            "tastemaker_front_event_log_lag_positions",
            "Positions of the event log that the online store has not got to; as many events, or fewer.",
        ),
        GaugeMetricFamily(
            "tastemaker_front_event_log_lag_seconds", "How long the oldest event has been waiting for the online store."
        ),
        GaugeMetricFamily("tastemaker_front_appends_waiting", "Calls that wait for the event log to commit."),
        GaugeMetricFamily(
            "tastemaker_front_list_generation", "The active generation of a set of lists.", labels=labels
        ),
        GaugeMetricFamily(
            "tastemaker_front_list_age_seconds", "How long ago the active generation was computed.", labels=labels
        ),
    )
