"""LIVE_MODEL: a model ranks from the user's newest history, at the moment of the call."""

import logging
from collections.abc import Callable, Collection

from tastemaker.v1 import recommendation_service_pb2 as pb
from tastemaker_server.model_client import ModelClient, ModelUnavailableError, ServedModel
from tastemaker_server.settings import TierName
from tastemaker_server.tiers import Query, TierAnswer

__all__ = ["LiveModelTier"]

_log = logging.getLogger(__name__)
_MIN_TIMEOUT_SECONDS = 0.002
_SECONDS_BETWEEN_WARNINGS = 5.0


class LiveModelTier:
    """See `Tier`."""

    name = TierName.LIVE_MODEL
    item_reason = pb.ITEM_REASON_RANKED_FROM_HISTORY

    def __init__(self, *, model_client: ModelClient, monotonic: Callable[[], float]) -> None:
        self._model_client = model_client
        self._monotonic = monotonic
        self._next_warning = 0.0

    async def rank(self, query: Query, *, wanted: int, excluded: Collection[str]) -> TierAnswer:
        """See `Tier.rank`."""
        surface, state = query.surface, query.state
        if state is None or not state.history or surface.model is None:
            return TierAnswer(outcome=pb.TIER_OUTCOME_NO_HISTORY)
        left = query.deadline_seconds - self._monotonic() - surface.reserve_milliseconds / 1000
        timeout = min(left, surface.live_model_timeout_milliseconds / 1000)
        if timeout < _MIN_TIMEOUT_SECONDS:
            return TierAnswer(outcome=pb.TIER_OUTCOME_SKIPPED_FOR_DEADLINE)
        try:
            ranked = await self._model_client.recommend(
                ServedModel(surface.model, surface.version_label or ""),
                history=[entry.item_id for entry in state.history[-surface.history_length :]],
                history_length=surface.history_length,
                exclude=list(excluded),
                k=wanted,
                timeout_seconds=timeout,
            )
        except ModelUnavailableError as error:
            self._warn(error)
            return TierAnswer(outcome=pb.TIER_OUTCOME_TIMED_OUT if error.timed_out else pb.TIER_OUTCOME_UNAVAILABLE)
        return TierAnswer(ranked.item_ids, ranked.scores)

    def _warn(self, error: ModelUnavailableError) -> None:
        """Logs the first failure and then one every few seconds: a dead model server fails every call."""
        now = self._monotonic()
        if now >= self._next_warning:
            self._next_warning = now + _SECONDS_BETWEEN_WARNINGS
            _log.warning("LIVE_MODEL gave no answer: %s", error)
