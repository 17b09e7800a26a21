"""Whether the lists that PRECOMPUTED and POPULAR read are there and young enough, for health and for the log."""

import logging
from collections.abc import Callable, Mapping

from tastemaker_server.online_store import OnlineStore
from tastemaker_server.settings import SurfaceSettings, TierName

__all__ = ["ListFreshness", "max_list_age_hours"]

_log = logging.getLogger(__name__)
_MICROS_PER_HOUR = 3_600_000_000


def max_list_age_hours(surfaces: Mapping[str, SurfaceSettings]) -> dict[str, float]:
    """The sets of lists that surfaces read, each with the least age that one of them allows."""
    ages: dict[str, float] = {}
    for surface_name, surface in surfaces.items():
        lists = (surface.lists or surface_name) if TierName.PRECOMPUTED in surface.tiers else None
        for name in (lists, surface.popular_lists):
            if name is not None:
                ages[name] = min(surface.max_list_age_hours, ages.get(name, surface.max_list_age_hours))
    return ages


class ListFreshness:
    """Looks at each set of lists when asked, and logs where one became missing, old or fresh."""

    def __init__(
        self, *, online_store: OnlineStore, max_age_hours: Mapping[str, float], now_micros: Callable[[], int]
    ) -> None:
        self.names = sorted(max_age_hours)
        """The sets that are looked at."""
        self._online_store = online_store
        self._max_age_hours = max_age_hours
        self._now_micros = now_micros
        self._logged: dict[str, str] = {}

    async def is_fresh(self, name: str) -> bool:
        """Whether a set of lists has an active generation that is young enough.

        Raises:
            StoreUnavailableError: The store cannot be read.
        """
        generations = await self._online_store.list_generations(name)
        if not generations:
            self._note(name, "missing", "no generation is published; tiers that read it have no lists")
            return False
        generation = generations[0]
        age_hours = (self._now_micros() - generation.created_time_micros) / _MICROS_PER_HOUR
        limit = self._max_age_hours[name]
        described = (
            f"generation {generation.generation}, {generation.list_count:,} lists, computed {age_hours:.1f} h ago"
        )
        if age_hours > limit:
            self._note(name, "old", f"{described}; max_list_age_hours is {limit:g}")
            return False
        self._note(name, f"fresh {generation.generation}", described)
        return True

    def _note(self, name: str, state: str, description: str) -> None:
        if self._logged.get(name) == state:
            return
        self._logged[name] = state
        level = logging.INFO if state.startswith("fresh") else logging.WARNING
        _log.log(level, "lists/%s: %s: %s", name, state.partition(" ")[0], description)
