"""Fills a page from the surface's tiers, in their order, inside the deadline.

It owns what holds for every tier: no item twice, none that the user has consumed, a report for each tier.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from tastemaker.v1 import recommendation_service_pb2 as pb
from tastemaker_server.errors import StoreUnavailableError
from tastemaker_server.metrics.pages import PageMetrics
from tastemaker_server.online_store import OnlineStore
from tastemaker_server.settings import SurfaceSettings, TierName
from tastemaker_server.tiers import Query, Tier, TierAnswer
from tastemaker_server.tiers.precomputed import list_keys
from tastemaker_server.time_limits import TimeLimits

__all__ = ["Recommender"]

_log = logging.getLogger(__name__)
# What is kept of the deadline to say in time that the store does not answer. The first read finds a store that is away,
# and its margin is ample; the rest may use nearly all, lest a page that is almost ready be thrown away.
_FIRST_READ_MARGIN_SECONDS = 0.05
_FIRST_READ_MARGIN_SHARE = 0.2
_MARGIN_SECONDS = 0.005
_SECONDS_BETWEEN_WARNINGS = 5.0


class Recommender:
    """Stateless but for its tiers; one for all calls."""

    def __init__(
        self,
        *,
        tiers: Iterable[Tier],
        online_store: OnlineStore,
        metrics: PageMetrics,
        monotonic: Callable[[], float],
        now_micros: Callable[[], int],
    ) -> None:
        """Takes the parts.

        Args:
            tiers: One of each name.
            online_store: Has users' states.
            metrics: Where pages are counted.
            monotonic: The clock of deadlines, seconds.
            now_micros: The time of day.
        """
        self._tiers: Mapping[TierName, Tier] = {tier.name: tier for tier in tiers}
        self._online_store = online_store
        self._metrics = metrics
        self._monotonic = monotonic
        self._now_micros = now_micros
        self._limits = TimeLimits()
        self._next_warning = float("-inf")

    async def recommend(
        self,
        *,
        user_id: str,
        surface_name: str,
        surface: SurfaceSettings,
        max_results: int,
        seconds_left: float,
        item_id: str = "",
        segment: str = "",
    ) -> pb.RecommendResponse:
        """Returns a page, without request id and token.

        Args:
            user_id: The user to rank for.
            surface_name: The surface's name.
            surface: Its settings.
            max_results: The length of the page, 1 or more.
            seconds_left: How long the caller waits.
            item_id: The item that the caller shows, which is kept off the page; "" for none.
            segment: The group that the caller sorts the user into; "" for none.

        Raises:
            StoreUnavailableError: The user's state cannot be read, or not within the caller's deadline; or a tier's
                lists cannot, and no other tier had anything.
        """
        began = self._monotonic()
        deadline = began + seconds_left
        if not self._online_store.is_remote:  # then no read waits, and a time limit would cost for nothing
            query = await self._read(user_id, surface_name, surface, item_id, segment, deadline)
            response = await self._fill(query, max_results)
            self._metrics.count(surface_name, response, self._monotonic() - began)
            return response
        end = asyncio.get_running_loop().time() + seconds_left
        first_margin = min(_FIRST_READ_MARGIN_SECONDS, _FIRST_READ_MARGIN_SHARE * seconds_left)
        try:
            with self._limits.until(end - first_margin) as limit:
                query = await self._read(user_id, surface_name, surface, item_id, segment, deadline)
                limit.time = end - min(_MARGIN_SECONDS, surface.reserve_milliseconds / 3000)
                response = await self._fill(query, max_results)
        except TimeoutError as error:  # models have a limit of their own: it was the store
            raise StoreUnavailableError("online_store", "no answer within the caller's deadline") from error
        self._metrics.count(surface_name, response, self._monotonic() - began)
        return response

    async def _read(
        self, user_id: str, surface_name: str, surface: SurfaceSettings, item_id: str, segment: str, deadline: float
    ) -> Query:
        """Reads what is known of the user, and with it the list where the first tier will want it."""
        if surface.tiers[0] is TierName.PRECOMPUTED and self._online_store.reads_together:
            state, found = await self._online_store.user_state_and_list(
                user_id, surface.lists or surface_name, list_keys(user_id, item_id)
            )
            return Query(user_id, surface_name, surface, state, item_id, segment, deadline, found)
        state = await self._online_store.user_state(user_id)
        return Query(user_id, surface_name, surface, state, item_id, segment, deadline)

    async def _fill(self, query: Query, max_results: int) -> pb.RecommendResponse:
        state, surface = query.state, query.surface
        excluded = set(state.consumed_item_ids[:]) if state is not None else set()  # a slice is copied faster
        if query.item_id:
            excluded.add(query.item_id)
        response = pb.RecommendResponse(tier=pb.TIER_POPULAR)
        failure: StoreUnavailableError | None = None
        add_report = response.tier_reports.add
        missing = max_results
        for name in surface.tiers:
            tier, number = self._tiers[name], name.number
            if not missing:
                add_report(tier=number, outcome=pb.TIER_OUTCOME_NOT_NEEDED)
                continue
            report = add_report(tier=number)
            before = missing
            try:
                answer = await tier.rank(query, wanted=missing, excluded=excluded)
            except StoreUnavailableError as error:
                # In a cluster the node with these lists may be away while all others answer.
                self._warn(name, error)
                failure = error
                answer = TierAnswer(outcome=pb.TIER_OUTCOME_UNAVAILABLE)
            missing -= _take(tier, answer, missing, excluded, response)
            if answer.generation is not None:
                report.list_generation = answer.generation.generation
                age_micros = self._now_micros() - answer.generation.created_time_micros
                report.list_age.seconds, micros = divmod(max(0, age_micros), 1_000_000)
                report.list_age.nanos = micros * 1000
            if missing < before:
                report.item_count = before - missing
                report.outcome = pb.TIER_OUTCOME_USED
                if before == max_results:
                    response.tier = number
            else:
                report.outcome = pb.TIER_OUTCOME_EMPTY if answer.item_ids else answer.outcome
        if missing == max_results and failure is not None:
            raise failure
        return response

    def _warn(self, name: TierName, error: StoreUnavailableError) -> None:
        """Logs the first failure and then one every few seconds: a node that is away fails many calls."""
        now = self._monotonic()
        if now >= self._next_warning:
            self._next_warning = now + _SECONDS_BETWEEN_WARNINGS
            _log.warning("%s gave no answer: %s", name, error)


def _take(tier: Tier, answer: TierAnswer, wanted: int, excluded: set[str], response: pb.RecommendResponse) -> int:
    """Puts up to `wanted` of a tier's items onto the page, and so among those excluded. Returns how many."""
    taken = 0
    if answer.encoded is not None:
        page = []
        for item_id, encoded in zip(answer.item_ids, answer.encoded, strict=True):
            if item_id not in excluded:
                excluded.add(item_id)
                page.append(encoded)
                taken += 1
                if taken == wanted:
                    break
        response.MergeFromString(b"".join(page))
        return taken
    add_item, number, scores = response.items.add, tier.name.number, answer.scores
    reason = tier.item_reason if answer.item_reason is None else answer.item_reason
    for place, item_id in enumerate(answer.item_ids):
        if item_id not in excluded:
            excluded.add(item_id)
            add_item(item_id=item_id, score=scores[place], tier=number, reason=reason)
            taken += 1
            if taken == wanted:
                break
    return taken
