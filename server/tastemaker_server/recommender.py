"""Fills a page from the surface's tiers, in their order, inside the deadline.

It owns what holds for every tier: no item twice, none that the user has consumed, a report for each tier.
"""

from collections.abc import Callable, Iterable, Mapping

from tastemaker.v1 import recommendation_service_pb2 as pb
from tastemaker_server.online_store import OnlineStore
from tastemaker_server.settings import SurfaceSettings, TierName
from tastemaker_server.tiers import Query, Tier

__all__ = ["Recommender"]


class Recommender:
    """Stateless but for its tiers; one for all calls."""

    def __init__(self, *, tiers: Iterable[Tier], online_store: OnlineStore, monotonic: Callable[[], float]) -> None:
        """Takes one tier of each name, the store with users' states, and the clock of deadlines."""
        self._tiers: Mapping[TierName, Tier] = {tier.name: tier for tier in tiers}
        self._online_store = online_store
        self._monotonic = monotonic

    async def recommend(
        self, *, user_id: str, surface_name: str, surface: SurfaceSettings, max_results: int, seconds_left: float
    ) -> pb.RecommendResponse:
        """Returns a page, without request id and token.

        Args:
            user_id: The user to rank for.
            surface_name: The surface's name.
            surface: Its settings.
            max_results: The length of the page, 1 or more.
            seconds_left: How long the caller waits.

        Raises:
            StoreUnavailableError: The user's state or list cannot be read.
        """
        deadline = self._monotonic() + seconds_left
        state = await self._online_store.user_state(user_id)
        query = Query(user_id, surface_name, surface, state, deadline)
        excluded = dict.fromkeys(state.consumed_item_ids) if state is not None else {}
        response = pb.RecommendResponse(tier=pb.TIER_POPULAR)
        items = response.items
        for name in surface.tiers:
            tier = self._tiers[name]
            report = response.tier_reports.add(tier=name.number)
            before = len(items)
            if before == max_results:
                report.outcome = pb.TIER_OUTCOME_NOT_NEEDED
                continue
            answer = await tier.rank(query, wanted=max_results - before, excluded=excluded)
            for item_id, score in zip(answer.item_ids, answer.scores, strict=True):
                if item_id in excluded:
                    continue
                excluded[item_id] = None
                items.add(item_id=item_id, score=score, tier=name.number, reason=tier.item_reason)
                if len(items) == max_results:
                    break
            report.item_count = len(items) - before
            if report.item_count:
                report.outcome = pb.TIER_OUTCOME_USED
            else:
                report.outcome = pb.TIER_OUTCOME_EMPTY if answer.item_ids else answer.outcome
        if items:
            response.tier = items[0].tier
        return response
