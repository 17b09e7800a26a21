"""Events by type: accepted, sent before, refused."""

from collections import Counter as Tally
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter

from tastemaker.v1 import feedback_service_pb2 as pb
from tastemaker_server.event_log import Appended

__all__ = ["FeedbackMetrics"]

_ACCEPTED, _DUPLICATE, _REJECTED = "accepted", "duplicate", "rejected"
_TYPES = {number: pb.EventType.Name(number).removeprefix("EVENT_TYPE_") for number in pb.EventType.values()}


class FeedbackMetrics:
    """Counts events, of whichever call."""

    def __init__(self, *, registry: CollectorRegistry) -> None:
        events = Counter(
            "tastemaker_front_feedback_events",
            "Events by type, and whether they were stored.",
            ("type", "result"),
            registry=registry,
        )
        self._children = {
            (number, result): events.labels(name, result)
            for number, name in _TYPES.items()
            for result in (_ACCEPTED, _DUPLICATE, _REJECTED)
        }

    def stored(self, events: Sequence[pb.FeedbackEvent], appended: Sequence[Appended]) -> None:
        """Counts events that are in the log, with what the log said of each."""
        told = zip(events, appended, strict=True)
        self._add(Tally((event.event_type, _ACCEPTED if at.is_new else _DUPLICATE) for event, at in told))

    def rejected(self, events: Sequence[pb.FeedbackEvent]) -> None:
        """Counts the events of a call that was refused; all of them, as none is stored."""
        self._add(Tally((event.event_type, _REJECTED) for event in events))

    def _add(self, counts: "Tally[tuple[int, str]]") -> None:
        for (number, result), count in counts.items():
            # proto3 lets callers send numbers that are no type.
            self._children[number if number in _TYPES else pb.EVENT_TYPE_UNSPECIFIED, result].inc(count)
