"""PRECOMPUTED: a list of the active generation, as a batch job wrote it: the user's, or that of the item shown."""

from collections.abc import Collection

from tastemaker.artefacts.v1.lists_pb2 import LIST_KEY_ITEM, LIST_KEY_USER, ListKey
from tastemaker.v1 import recommendation_service_pb2 as pb
from tastemaker_server.online_store import OnlineStore
from tastemaker_server.settings import TierName
from tastemaker_server.tiers import Query, TierAnswer

__all__ = ["PrecomputedTier", "list_keys"]


def list_keys(user_id: str, item_id: str) -> "dict[ListKey, str]":
    """What a call's list can be looked up by; `item_id` is "" where no item is shown."""
    keys: dict[ListKey, str] = {LIST_KEY_USER: user_id}
    if item_id:
        keys[LIST_KEY_ITEM] = item_id
    return keys


class PrecomputedTier:
    """See `Tier`. Whether lists are looked up by user or by item is the generation's to say."""

    name = TierName.PRECOMPUTED
    item_reason = pb.ITEM_REASON_IN_USER_LIST

    def __init__(self, *, online_store: OnlineStore) -> None:
        self._online_store = online_store

    async def rank(self, query: Query, *, wanted: int, excluded: Collection[str]) -> TierAnswer:  # noqa: ARG002  # a list is whole
        """See `Tier.rank`. Gives the whole list: it was computed before the newest exclusions were known."""
        found = query.found_list
        if found is None:
            keys = list_keys(query.user_id, query.item_id)
            found = await self._online_store.read_list(query.surface.lists or query.surface_name, keys)
        if found is None:
            return TierAnswer(outcome=pb.TIER_OUTCOME_NO_LIST)
        if found.ranked is None:
            return TierAnswer(outcome=pb.TIER_OUTCOME_NO_LIST, generation=found.generation)
        reason = pb.ITEM_REASON_SIMILAR_TO_ITEM if found.generation.key == LIST_KEY_ITEM else self.item_reason
        return TierAnswer(found.ranked.item_ids, found.ranked.scores, item_reason=reason, generation=found.generation)
