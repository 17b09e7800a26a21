"""What `recommend` returns: a ranked page, and where each part of it came from.

Every enum has a member UNSPECIFIED, which no server sends: it stands for a value that a newer server knows and this
client does not, so that an old client keeps working.
"""

import datetime
import enum
from dataclasses import dataclass
from typing import Self

from tastemaker_client.event import Event, EventType

__all__ = ["ItemReason", "Page", "RecommendedItem", "Tier", "TierOutcome", "TierReport"]


class _Word(enum.StrEnum):
    """A proto enum as words, which read well in logs, metrics and JSON."""

    @classmethod
    def _missing_(cls, value: object) -> Self:  # noqa: ARG003 -- the signature is enum's
        return cls("UNSPECIFIED")


class Tier(_Word):
    """Where an item came from, from the most personal to the least.

    >>> Tier("A_TIER_OF_A_NEWER_SERVER")
    <Tier.UNSPECIFIED: 'UNSPECIFIED'>
    """

    UNSPECIFIED = "UNSPECIFIED"
    LIVE_MODEL = "LIVE_MODEL"
    PRECOMPUTED = "PRECOMPUTED"
    POPULAR = "POPULAR"


class TierOutcome(_Word):
    """What a tier contributed to a page, or why it could not."""

    UNSPECIFIED = "UNSPECIFIED"
    USED = "USED"
    NOT_NEEDED = "NOT_NEEDED"
    NO_HISTORY = "NO_HISTORY"
    EMPTY = "EMPTY"
    TIMED_OUT = "TIMED_OUT"
    SKIPPED_FOR_DEADLINE = "SKIPPED_FOR_DEADLINE"
    UNAVAILABLE = "UNAVAILABLE"
    NO_LIST = "NO_LIST"


class ItemReason(_Word):
    """Why an item is on the page."""

    UNSPECIFIED = "UNSPECIFIED"
    RANKED_FROM_HISTORY = "RANKED_FROM_HISTORY"
    IN_USER_LIST = "IN_USER_LIST"
    POPULAR = "POPULAR"
    SIMILAR_TO_ITEM = "SIMILAR_TO_ITEM"


@dataclass(frozen=True, slots=True)
class RecommendedItem:
    """One item of a page."""

    item_id: str
    """The item, as feedback named it."""
    score: float
    """Higher is better; comparable only between items of one page with the same tier."""
    tier: Tier
    """The tier it came from."""
    reason: ItemReason
    """Why it is on the page."""


@dataclass(frozen=True, slots=True)
class TierReport:
    """What became of one tier in one call."""

    tier: Tier
    outcome: TierOutcome
    item_count: int
    """How many items of the page came from the tier."""
    list_generation: int = 0
    """The generation of lists that the tier looked into; 0 where there is none."""
    list_age_seconds: float | None = None
    """How long ago those lists were computed; None where there are none."""


@dataclass(frozen=True, slots=True)
class Page:
    """A ranked page for one user.

    >>> item = RecommendedItem("50", 4.5, Tier.LIVE_MODEL, ItemReason.RANKED_FROM_HISTORY)
    >>> page = Page("42", (item,), Tier.LIVE_MODEL, (), "signed-token", "request-1")
    >>> page.item_ids
    ('50',)
    >>> page.event("50", EventType.CLICK).attribution_token
    'signed-token'
    """

    user_id: str
    """The user that was asked for."""
    items: tuple[RecommendedItem, ...]
    """Best first. Shorter than asked only where all tiers together had no more."""
    tier: Tier
    """The tier of the first item: the best one that answered."""
    tier_reports: tuple[TierReport, ...]
    """Every tier of the surface, in the order they are tried."""
    attribution_token: str
    """Opaque. Put it into each `Event` that this page led to; `event` does."""
    request_id: str
    """The caller's, or the one that the server made."""

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The items' ids, best first."""
        return tuple(item.item_id for item in self.items)

    def event(
        self, item_id: str, event_type: EventType, *, time: datetime.datetime | None = None, rating: float | None = None
    ) -> Event:
        """Makes the event that this page's user did something with an item of it, tied to the page.

        Args:
            item_id: the item.
            event_type: what was done.
            time: when, with a time zone; None for the moment at which the server receives the event.
            rating: for `EventType.RATE` only.

        Returns:
            The event, to be sent with `feedback`.
        """
        return Event(
            self.user_id, item_id, event_type, time=time, rating=rating, attribution_token=self.attribution_token
        )
