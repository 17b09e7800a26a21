"""What an event log must do. Each backend is a file here and passes `testing.EventLogContract`.

The event log is the truth about what users did: durable, append-only, ordered. Everything else can be built anew from
it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tastemaker.v1.feedback_service_pb2 import FeedbackEvent

__all__ = ["Appended", "EventLog", "LoggedEvent"]


@dataclass(frozen=True, slots=True)
class Appended:
    """Where an event stands in the log."""

    position: int
    """1 or more; grows with every new event, with gaps allowed; never used again."""
    is_new: bool
    """False where the event had been stored before, with the same content."""


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event as it was stored."""

    position: int
    """Its place in the order of the log."""
    received_time_micros: int
    """When the front received it, microseconds since 1970-01-01 UTC."""
    event: FeedbackEvent
    """As the caller sent it."""

    @property
    def event_time_micros(self) -> int:
        """When it happened, microseconds since 1970-01-01 UTC: what the caller said, else when it was received."""
        if self.event.HasField("event_time"):
            return self.event.event_time.ToMicroseconds()
        return self.received_time_micros


class EventLog(Protocol):
    """Durable, idempotent, ordered. Every method raises StoreUnavailableError when the backend cannot be reached."""

    @property
    def waiting_appends(self) -> int:
        """How many calls of `append` are under way, in this process; may be read from any thread."""
        ...

    async def append(self, events: Sequence[FeedbackEvent], received_time_micros: int) -> list[Appended]:
        """Stores all events or none, and returns after they are on disk.

        Args:
            events: Any number, of any users; valid. Events are told apart by `event_id` alone.
            received_time_micros: When they were received, microseconds since 1970-01-01 UTC.

        Returns:
            One Appended for each event, in order. Positions grow in the order of `events`.

        Raises:
            EventIdReusedError: An event id is in the log, or twice in `events`, with other content. Nothing was stored.
        """
        ...

    async def append_received(self, events: Sequence[tuple[FeedbackEvent, int]]) -> list[Appended]:
        """Appends many events that were received elsewhere before, in the way that is fastest for many.

        Where it fails, those before some event may be stored and those from it on are not; the same call again adds
        what is missing.

        Args:
            events: Any number, each with the time at which it was received, microseconds since 1970-01-01 UTC.

        Returns:
            See `append`.

        Raises:
            EventIdReusedError: See `append`; the events before may be stored.
        """
        ...

    async def read(self, after: int, limit: int) -> list[LoggedEvent]:
        """Returns up to `limit` events with positions above `after`, in order; empty at the end of the log."""
        ...

    async def last_position(self) -> int:
        """The position of the newest event; 0 for an empty log."""
        ...

    async def erase_user(self, user_id: str) -> int:
        """Removes every event of a user for good, and returns how many there were. Other positions stay as they are.

        That the user was erased stays on record, also where there were no events; see `erased_users`.
        """
        ...

    async def erased_users(self, since: int) -> frozenset[bytes]:
        """Returns who may be in something that was made of the log up to a position, and was erased since.

        Args:
            since: The position of the newest event that it was made of; 0 for everyone ever erased.

        Returns:
            `erasure_digest` of each user who was erased when the log's newest position was `since` or more. One whose
            erasure was cut off is among them whatever `since` is, until the erasure is done again.
        """
        ...

    async def check(self) -> None:
        """Returns if the log can be read."""
        ...

    async def close(self) -> None:
        """Finishes what is under way and lets go of everything."""
        ...
