"""What a tier must do. Each tier is a file here; `recommender` asks them in order until the page is full."""

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from tastemaker.artefacts.v1.lists_pb2 import ListGeneration
from tastemaker.artefacts.v1.state_pb2 import UserState
from tastemaker.v1 import recommendation_service_pb2 as pb
from tastemaker_server.online_store import FoundList
from tastemaker_server.settings import SurfaceSettings, TierName

__all__ = ["Query", "Tier", "TierAnswer"]


class Query(NamedTuple):
    """What the tiers are asked."""

    user_id: str
    """The user to rank for."""
    surface_name: str
    """The surface's name."""
    surface: SurfaceSettings
    """Its settings."""
    state: UserState | None
    """What is known of the user; None if nothing is."""
    item_id: str
    """The item that the caller shows; "" for none."""
    segment: str
    """The group that the caller sorts the user into; "" for none."""
    deadline_seconds: float
    """When the caller needs the answer, on the clock of `time.monotonic`."""
    found_list: FoundList | None = None
    """The list that PRECOMPUTED looks for, where it was read together with the state and a generation is active."""


class TierAnswer(NamedTuple):
    """What a tier had."""

    item_ids: Sequence[str] = ()
    """Best first. May hold items that are excluded; the recommender drops them."""
    scores: Sequence[float] = ()
    """As long as item_ids; not looked at where there is `encoded`."""
    encoded: Sequence[bytes] | None = None
    """From tiers that keep them ready: for each item a serialised RecommendResponse with that item only."""
    outcome: "pb.TierOutcome" = pb.TIER_OUTCOME_EMPTY
    """Why there are none. Not looked at where there are some."""
    item_reason: "pb.ItemReason | None" = None
    """Why its items are on the page, where that is not the tier's usual reason."""
    generation: ListGeneration | None = None
    """The generation of lists that was looked into; None where there is none."""


class Tier(Protocol):
    """A source of ranked items."""

    name: TierName
    """Which tier it is."""
    item_reason: "pb.ItemReason"
    """Why its items are on the page."""

    async def rank(self, query: Query, *, wanted: int, excluded: Collection[str]) -> TierAnswer:
        """Ranks items for a user; a tier that cannot says so in the answer's outcome.

        Args:
            query: Who asks, and how long there is.
            wanted: How many items that are not excluded are still missing. 1 or more.
            excluded: Items that cannot be used: consumed, or on the page already.

        Raises:
            StoreUnavailableError: The store behind it cannot be read.
        """
        ...
