"""Events for tests, short to write."""

from tastemaker.v1 import feedback_service_pb2 as pb
from tastemaker_server.event_log import LoggedEvent

__all__ = ["logged", "make_event"]


def make_event(
    event_id: str,
    *,
    user_id: str = "u1",
    item_id: str = "i1",
    event_type: pb.EventType = pb.EVENT_TYPE_CONSUME,
    seconds: int | None = None,
) -> pb.FeedbackEvent:
    """An event; `seconds` since 1970 is its time, None leaves it out."""
    event = pb.FeedbackEvent(event_id=event_id, user_id=user_id, item_id=item_id, event_type=event_type)
    if seconds is not None:
        event.event_time.FromSeconds(seconds)
    return event


def logged(position: int, event: pb.FeedbackEvent, *, received_time_micros: int = 1_000_000) -> LoggedEvent:
    """An event at a position of the log."""
    return LoggedEvent(position, received_time_micros, event)
