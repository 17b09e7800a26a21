"""What goes onto the wire and what is read from it, shared by the blocking and the asyncio client.

A call is made ready here (`Call`) and sent by a client, which knows only how to wait: with or without `await`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tastemaker.v1 import (
    feedback_service_pb2,
    feedback_service_pb2_grpc,
    recommendation_service_pb2,
    recommendation_service_pb2_grpc,
)
from tastemaker_client.event import Event, FeedbackReceipt
from tastemaker_client.health import (
    CHECK_PATH,
    HealthCheckRequest,
    HealthCheckResponse,
    HealthStatus,
    health_status,
)
from tastemaker_client.page import ItemReason, Page, RecommendedItem, Tier, TierOutcome, TierReport
from tastemaker_client.request_ids import REQUEST_ID_KEY, check_request_id, metadata_value, new_request_id

__all__ = [
    "FEEDBACK_TIMEOUT_SECONDS",
    "HEALTH_TIMEOUT_SECONDS",
    "RECOMMEND_TIMEOUT_SECONDS",
    "Call",
    "Stubs",
    "feedback_call",
    "health_call",
    "recommend_call",
]

RECOMMEND_TIMEOUT_SECONDS = 0.5
"""A page waits for this answer; the front leaves slow tiers in time to keep it."""
FEEDBACK_TIMEOUT_SECONDS = 5.0
"""Nobody waits for it to be shown, and it must reach a disk."""
HEALTH_TIMEOUT_SECONDS = 1.0
"""Enough to connect and to ask."""

Result = TypeVar("Result")
_M = TypeVar("_M", bound=Message)


class Stubs:
    """The methods of one channel, blocking or asyncio: both kinds of channel make them in the same way."""

    def __init__(self, channel: Any) -> None:
        self.recommend = recommendation_service_pb2_grpc.RecommendationServiceStub(channel).Recommend
        self.feedback = feedback_service_pb2_grpc.FeedbackServiceStub(channel).Feedback
        self.health = channel.unary_unary(
            CHECK_PATH,
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )


@dataclass(frozen=True, slots=True)
class Call(Generic[Result]):
    """One call, ready to be sent."""

    method: str
    """The attribute of `Stubs` that sends it."""
    request: Message
    read: Callable[[Any], Result]
    """Turns the answer's message into what the caller gets."""
    request_id: str
    """The caller's, or one of its own. gRPC's retries are of one call, and keep it."""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What is sent beside the request."""
        return ((REQUEST_ID_KEY, metadata_value(self.request_id)),)


def recommend_call(
    user_id: str, surface: str, *, max_results: int, request_id: str, item_id: str, segment: str
) -> Call[Page]:
    """Makes a Recommend call ready."""
    request = _message(
        recommendation_service_pb2.RecommendRequest,
        user_id=user_id,
        surface=surface,
        max_results=max_results,
        request_id=request_id,
        item_id=item_id,
        segment=segment,
    )
    # The field is left as the caller has it: whether an id is right is for the server to say, with all other fields.
    return Call(
        "recommend", request, lambda response: _read_page(user_id, response), request_id=request_id or new_request_id()
    )


def feedback_call(events: Iterable[Event], *, request_id: str) -> Call[FeedbackReceipt]:
    """Makes a Feedback call ready."""
    check_request_id(request_id)
    request = feedback_service_pb2.FeedbackRequest(events=[_event_message(event) for event in events])
    return Call(
        "feedback",
        request,
        lambda response: FeedbackReceipt(response.accepted_count, response.duplicate_count),
        request_id=request_id or new_request_id(),
    )


def health_call(component: str) -> Call[HealthStatus]:
    """Makes a health check ready."""
    request = _message(HealthCheckRequest, value=component)
    return Call("health", request, health_status, request_id=new_request_id())


def _event_message(event: Event) -> feedback_service_pb2.FeedbackEvent:
    time = None
    if event.time is not None:
        time = Timestamp()
        time.FromDatetime(event.time)
    return _message(
        feedback_service_pb2.FeedbackEvent,
        event_id=event.event_id,
        user_id=event.user_id,
        item_id=event.item_id,
        event_type=f"EVENT_TYPE_{event.event_type}",
        event_time=time,
        rating=event.rating,
        attribution_token=event.attribution_token,
    )


def _message(kind: type[_M], **fields: Any) -> _M:
    try:
        return kind(**fields)
    except (TypeError, ValueError):
        # protobuf's message names neither the field nor the value; a user id given as a number is the mistake to
        # expect.
        for name, value in fields.items():
            try:
                kind(**{name: value})
            except (TypeError, ValueError) as error:
                exception = TypeError if isinstance(error, TypeError) else ValueError
                raise exception(f"{name} cannot be {value!r} ({type(value).__name__}): {error}") from error
        raise


def _read_page(user_id: str, response: recommendation_service_pb2.RecommendResponse) -> Page:
    return Page(
        user_id=user_id,
        items=tuple(
            RecommendedItem(item.item_id, item.score, _tier(item.tier), _reason(item.reason)) for item in response.items
        ),
        tier=_tier(response.tier),
        tier_reports=tuple(
            TierReport(
                _tier(report.tier),
                _outcome(report.outcome),
                report.item_count,
                report.list_generation,
                report.list_age.ToNanoseconds() / 1e9 if report.HasField("list_age") else None,
            )
            for report in response.tier_reports
        ),
        attribution_token=response.attribution_token,
        request_id=response.request_id,
    )


def _tier(number: int) -> Tier:
    return _TIERS.get(number, Tier.UNSPECIFIED)


def _outcome(number: int) -> TierOutcome:
    return _OUTCOMES.get(number, TierOutcome.UNSPECIFIED)


def _reason(number: int) -> ItemReason:
    return _REASONS.get(number, ItemReason.UNSPECIFIED)


_TIERS = {n: Tier(name.removeprefix("TIER_")) for name, n in recommendation_service_pb2.Tier.items()}
_OUTCOMES = {
    n: TierOutcome(name.removeprefix("TIER_OUTCOME_")) for name, n in recommendation_service_pb2.TierOutcome.items()
}
_REASONS = {
    n: ItemReason(name.removeprefix("ITEM_REASON_")) for name, n in recommendation_service_pb2.ItemReason.items()
}
