"""POPULAR: what most users consumed, less what this user consumed. It answers for everyone, from memory.

Where the surface names lists by segment, the list of the caller's segment comes first, or that for everyone; what the
counts of users say fills up a page that the list cannot fill.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from tastemaker.artefacts.v1.lists_pb2 import LIST_KEY_SEGMENT
from tastemaker.v1 import recommendation_service_pb2 as pb
from tastemaker_server.errors import StoreUnavailableError
from tastemaker_server.online_store import FoundList, OnlineStore
from tastemaker_server.settings import TierName
from tastemaker_server.tiers import Query, TierAnswer

__all__ = ["PopularTier"]

_REFRESH_SECONDS = 1.0
_MIN_ITEMS = 1000
_MAX_SEGMENTS = 1000


class PopularTier:
    """See `Tier`."""

    name = TierName.POPULAR
    item_reason = pb.ITEM_REASON_POPULAR

    def __init__(self, *, online_store: OnlineStore, monotonic: Callable[[], float]) -> None:
        self._online_store = online_store
        self._monotonic = monotonic
        self._popular: list[tuple[str, int]] = []
        self._item_ids: list[str] = []
        self._scores: list[float] = []
        self._encoded: list[bytes] = []
        self._limit = _MIN_ITEMS
        self._stale_at = float("-inf")
        self._segments: dict[tuple[str, str], _Segment] = {}

    async def rank(self, query: Query, *, wanted: int, excluded: Collection[str]) -> TierAnswer:
        """See `Tier.rank`. Reads as deep as the longest exclusion needs, so that it never empties a page."""
        needed = wanted + len(excluded)
        found = None
        if query.surface.popular_lists is not None:
            found = await self._segment_list(query.surface.popular_lists, query.segment)
            if found is not None and found.ranked is not None and len(found.ranked.item_ids) >= needed:
                return TierAnswer(found.ranked.item_ids, found.ranked.scores, generation=found.generation)
        if self._monotonic() >= self._stale_at or (needed > self._limit and len(self._item_ids) == self._limit):
            await self._refresh(max(self._limit, needed))
        if found is None or found.ranked is None:
            return TierAnswer(self._item_ids, self._scores, self._encoded)
        item_ids = [*found.ranked.item_ids, *self._item_ids]
        return TierAnswer(item_ids, [*found.ranked.scores, *self._scores], generation=found.generation)

    async def _segment_list(self, name: str, segment: str) -> FoundList | None:
        known = self._segments.get((name, segment))
        if known is None or self._monotonic() >= known.stale_at:
            try:
                found = await self._online_store.read_list(name, {LIST_KEY_SEGMENT: segment})
                if segment and found is not None and found.ranked is None:
                    found = await self._online_store.read_list(name, {LIST_KEY_SEGMENT: ""})
            except StoreUnavailableError:
                found = known.found if known is not None else None
            known = _Segment(found, self._monotonic() + _REFRESH_SECONDS)
            self._segments.pop((name, segment), None)
            while len(self._segments) >= _MAX_SEGMENTS:  # callers may send any; the one read longest ago goes
                del self._segments[next(iter(self._segments))]
            self._segments[name, segment] = known
        return known.found

    async def _refresh(self, limit: int) -> None:
        try:
            popular = await self._online_store.popular(limit)
        except StoreUnavailableError:
            if not self._item_ids:
                raise
            self._stale_at = self._monotonic() + _REFRESH_SECONDS  # what was popular a moment ago still is
            return
        self._limit = limit
        if popular != self._popular:
            self._popular = popular
            self._item_ids = [item_id for item_id, _ in popular]
            self._scores = [float(user_count) for _, user_count in popular]
            self._encoded = [_encoded(item_id, user_count) for item_id, user_count in popular]
        self._stale_at = self._monotonic() + _REFRESH_SECONDS


def _encoded(item_id: str, user_count: int) -> bytes:
    """See `TierAnswer.encoded`."""
    item = pb.RecommendedItem(item_id=item_id, score=user_count, tier=pb.TIER_POPULAR, reason=pb.ITEM_REASON_POPULAR)
    return pb.RecommendResponse(items=[item]).SerializeToString()


@dataclass(frozen=True, slots=True)
class _Segment:
    """What was read for a segment, for a moment."""

    found: FoundList | None
    stale_at: float
    """On the clock of `time.monotonic`."""
