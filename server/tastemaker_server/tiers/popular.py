"""POPULAR: what most users consumed, less what this user consumed. It answers for everyone, from memory."""

from collections.abc import Callable, Collection

from tastemaker.v1 import recommendation_service_pb2 as pb
from tastemaker_server.online_store import OnlineStore
from tastemaker_server.settings import TierName
from tastemaker_server.tiers import Query, TierAnswer

__all__ = ["PopularTier"]

_REFRESH_SECONDS = 1.0
_MIN_ITEMS = 1000


class PopularTier:
    """See `Tier`."""

    name = TierName.POPULAR
    item_reason = pb.ITEM_REASON_POPULAR

    def __init__(self, *, online_store: OnlineStore, monotonic: Callable[[], float]) -> None:
        self._online_store = online_store
        self._monotonic = monotonic
        self._item_ids: list[str] = []
        self._scores: list[float] = []
        self._limit = _MIN_ITEMS
        self._stale_at = float("-inf")

    async def rank(self, query: Query, *, wanted: int, excluded: Collection[str]) -> TierAnswer:  # noqa: ARG002  # same for all
        """See `Tier.rank`. Reads as deep as the longest exclusion needs, so that it never empties a page."""
        needed = wanted + len(excluded)
        if self._monotonic() >= self._stale_at or (needed > self._limit and len(self._item_ids) == self._limit):
            await self._refresh(max(self._limit, needed))
        return TierAnswer(self._item_ids, self._scores)

    async def _refresh(self, limit: int) -> None:
        popular = await self._online_store.popular(limit)
        self._limit = limit
        self._item_ids = [item_id for item_id, _ in popular]
        self._scores = [float(user_count) for _, user_count in popular]
        self._stale_at = self._monotonic() + _REFRESH_SECONDS
