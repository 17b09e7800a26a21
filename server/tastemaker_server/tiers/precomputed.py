"""PRECOMPUTED: the user's list of the active generation, as a batch job wrote it."""

from collections.abc import Collection

from tastemaker.v1 import recommendation_service_pb2 as pb
from tastemaker_server.online_store import OnlineStore
from tastemaker_server.settings import TierName
from tastemaker_server.tiers import Query, TierAnswer

__all__ = ["PrecomputedTier"]


class PrecomputedTier:
    """See `Tier`."""

    name = TierName.PRECOMPUTED
    item_reason = pb.ITEM_REASON_IN_USER_LIST

    def __init__(self, *, online_store: OnlineStore) -> None:
        self._online_store = online_store

    async def rank(self, query: Query, *, wanted: int, excluded: Collection[str]) -> TierAnswer:  # noqa: ARG002  # a list is whole
        """See `Tier.rank`. Gives the whole list: it was computed before the newest exclusions were known."""
        ranked = await self._online_store.user_list(query.surface_name, query.user_id)
        if ranked is None:
            return TierAnswer(outcome=pb.TIER_OUTCOME_NO_LIST)
        return TierAnswer(ranked.item_ids, ranked.scores)
