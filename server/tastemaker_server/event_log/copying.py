"""Copies one event log into another: the order and the times of receipt are kept; what is there already is left."""

from dataclasses import dataclass

from tastemaker_server.errors import CommandError, EventIdReusedError
from tastemaker_server.event_log import EventLog

__all__ = ["Copied", "copy_events"]

_PAGE_EVENTS = 10_000


@dataclass(frozen=True)
class Copied:
    """What became of a copy."""

    new: int
    """Events that the target did not have."""
    duplicates: int
    """Events that it had."""
    last_position: int
    """The position in the source up to which all events are in the target; 0 where there are none."""


async def copy_events(source: EventLog, target: EventLog) -> Copied:
    """Copies all events, page by page. May be run again after it was cut off: events count once by their ids.

    Raises:
        StoreUnavailableError: One of the logs cannot be read or written now.
        CommandError: The target has an event of the same id with other content.
    """
    new = duplicates = last = 0
    while page := await source.read(last, _PAGE_EVENTS):
        try:
            appended = await target.append_received([(logged.event, logged.received_time_micros) for logged in page])
        except EventIdReusedError as error:
            raise CommandError(f"the two logs disagree after position {last}: {error}; copy to an empty log") from error
        new += sum(entry.is_new for entry in appended)
        duplicates += sum(not entry.is_new for entry in appended)
        last = page[-1].position
    return Copied(new=new, duplicates=duplicates, last_position=last)
