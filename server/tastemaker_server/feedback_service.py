"""`FeedbackService`: checks events, stores them for good, and waits until the next `Recommend` sees them."""

from collections.abc import Callable
from typing import Any

from tastemaker.v1 import feedback_service_pb2 as pb
from tastemaker.v1 import feedback_service_pb2_grpc as pb_grpc
from tastemaker_server.attribution import AttributionSigner
from tastemaker_server.errors import EventIdReusedError, InvalidFieldsError
from tastemaker_server.event_log import EventLog
from tastemaker_server.metrics.feedback import FeedbackMetrics
from tastemaker_server.projector import Projector
from tastemaker_server.settings import FeedbackSettings
from tastemaker_server.validation import MAX_ID_BYTES, MAX_KEY_BYTES, Violations

__all__ = ["MAX_EVENTS_PER_CALL", "FeedbackService"]

MAX_EVENTS_PER_CALL = 500
"""The most events of one Feedback call."""

_NANOS_PER_SECOND = 1_000_000_000


class FeedbackService(pb_grpc.FeedbackServiceServicer):
    """See `tastemaker.v1.FeedbackService`, in proto/."""

    def __init__(
        self,
        *,
        event_log: EventLog,
        projector: Projector,
        metrics: FeedbackMetrics,
        settings: FeedbackSettings,
        signer: AttributionSigner,
        now_micros: Callable[[], int],
    ) -> None:
        self._event_log = event_log
        self._projector = projector
        self._metrics = metrics
        self._settings = settings
        self._signer = signer
        self._now_micros = now_micros

    async def Feedback(self, request: pb.FeedbackRequest, context: Any) -> pb.FeedbackResponse:  # noqa: ARG002, N802  # gRPC's form
        """See the .proto file."""
        try:
            return await self._store(request)
        except (EventIdReusedError, InvalidFieldsError):
            self._metrics.rejected(request.events)
            raise

    async def _store(self, request: pb.FeedbackRequest) -> pb.FeedbackResponse:
        now_micros = self._now_micros()
        violations = Violations()
        if not 1 <= len(request.events) <= MAX_EVENTS_PER_CALL:
            violations.add("events", f"has {len(request.events)} events; send 1 to {MAX_EVENTS_PER_CALL} in a call")
        else:
            for index, event in enumerate(request.events):
                self._check(violations, f"events[{index}]", event, now_micros)
        violations.raise_if_any()
        appended = await self._event_log.append(request.events, now_micros)
        self._metrics.stored(request.events, appended)
        # Duplicates too: a first try may have been stored and then cut off before it was applied.
        await self._projector.wait_until_applied(max(event.position for event in appended))
        accepted = sum(event.is_new for event in appended)
        return pb.FeedbackResponse(accepted_count=accepted, duplicate_count=len(appended) - accepted)

    def _check(self, violations: Violations, path: str, event: pb.FeedbackEvent, now_micros: int) -> None:
        violations.check_id(f"{path}.event_id", event.event_id, max_bytes=MAX_KEY_BYTES)
        violations.check_id(f"{path}.user_id", event.user_id, max_bytes=MAX_ID_BYTES)
        violations.check_id(f"{path}.item_id", event.item_id, max_bytes=MAX_ID_BYTES)
        if event.event_type not in _EVENT_TYPES:
            names = ", ".join(_EVENT_TYPES.values())
            violations.add(f"{path}.event_type", f"is {event.event_type}; send one of {names}")
        self._check_rating(violations, f"{path}.rating", event)
        if event.HasField("event_time"):
            self._check_time(violations, f"{path}.event_time", event, now_micros)
        if event.attribution_token:
            try:
                self._signer.read(event.attribution_token)
            except ValueError as error:
                violations.add(
                    f"{path}.attribution_token", f"{error}; send the token of a RecommendResponse unchanged, or none"
                )

    def _check_rating(self, violations: Violations, field: str, event: pb.FeedbackEvent) -> None:
        low, high = self._settings.min_rating, self._settings.max_rating
        if event.event_type != pb.EVENT_TYPE_RATE:
            if event.HasField("rating"):
                violations.add(
                    field, "is set, and only EVENT_TYPE_RATE has a rating; leave it out or change event_type"
                )
        elif not event.HasField("rating"):
            violations.add(field, f"is missing; EVENT_TYPE_RATE needs one from {low:g} to {high:g}")
        elif not low <= event.rating <= high:
            violations.add(field, f"is {event.rating:g}; send {low:g} to {high:g}")

    def _check_time(self, violations: Violations, field: str, event: pb.FeedbackEvent, now_micros: int) -> None:
        seconds, nanos = event.event_time.seconds, event.event_time.nanos
        skew = self._settings.max_clock_skew_seconds
        if not 0 <= nanos < _NANOS_PER_SECOND:
            violations.add(field, f"has {nanos} nanos; send 0 to 999999999")
        elif seconds < 0:
            violations.add(field, f"is {seconds} s, before 1970; send seconds since 1970-01-01 UTC")
        elif seconds + nanos / _NANOS_PER_SECOND > now_micros / 1e6 + skew:
            violations.add(
                field,
                f"is {seconds} s, more than {skew:g} s after the server's clock ({now_micros // 1_000_000} s); "
                "send seconds, not milliseconds, or mend the clock",
            )


_EVENT_TYPES = {
    value.number: value.name for value in pb.EventType.DESCRIPTOR.values if value.number != pb.EVENT_TYPE_UNSPECIFIED
}
