"""One thing that one user did with one item, as `feedback` sends it.

What is allowed in a field is the server's to say (the operator sets ranges); here only what could not be sent
faithfully is refused.
"""

import datetime
import enum
import uuid
from dataclasses import dataclass, field
from typing import Self

__all__ = ["Event", "EventType", "FeedbackReceipt"]


class EventType(enum.StrEnum):
    """What a user did with an item."""

    VIEW = "VIEW"
    CLICK = "CLICK"
    ADD_TO_CART = "ADD_TO_CART"
    PURCHASE = "PURCHASE"
    CONSUME = "CONSUME"
    RATE = "RATE"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that one user did with one item at one time.

    The id is made once, here. So an event may be sent again as often as a caller likes, after a timeout for example:
    the server counts it once. Callers that have an id of their own (a key of an order line, an offset of a log) give
    that.

    >>> watched = Event("42", "50", EventType.CONSUME, event_id="view-log-17")
    >>> rated = Event.rated("42", "50", 4.5)
    >>> rated.event_type, rated.rating, len(rated.event_id)
    (<EventType.RATE: 'RATE'>, 4.5, 36)
    >>> Event("42", "50", EventType.CLICK, time=datetime.datetime(2026, 1, 31, 12, 0))
    Traceback (most recent call last):
    ValueError: time 2026-01-31T12:00:00 has no time zone; give one, for example datetime.now(datetime.UTC)
    """

    user_id: str
    item_id: str
    event_type: EventType
    event_id: str = field(default_factory=lambda: str(uuid.uuid4()), kw_only=True)
    """Unique over all events ever sent."""
    time: datetime.datetime | None = field(default=None, kw_only=True)
    """When it was done, with a time zone; None for the moment at which the server receives it."""
    rating: float | None = field(default=None, kw_only=True)
    """For `EventType.RATE` only, in the operator's range (0.5 to 5 by default)."""
    attribution_token: str = field(default="", kw_only=True)
    """`Page.attribution_token` of the page that led to this event."""

    def __post_init__(self) -> None:
        if self.time is not None and self.time.tzinfo is None:
            raise ValueError(
                f"time {self.time.isoformat()} has no time zone; give one, for example datetime.now(datetime.UTC)"
            )

    @classmethod
    def rated(cls, user_id: str, item_id: str, rating: float, *, time: datetime.datetime | None = None) -> Self:
        """The event that a user rated an item."""
        return cls(user_id, item_id, EventType.RATE, rating=rating, time=time)


@dataclass(frozen=True, slots=True)
class FeedbackReceipt:
    """What the server stored. Every event is on disk, and the next `recommend` of its user sees it."""

    accepted_count: int
    """Events that were new."""
    duplicate_count: int
    """Events that had been stored before; sending them again changed nothing."""
