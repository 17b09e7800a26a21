"""A peer to call: a real gRPC server on a free port whose answers a test scripts, and both clients behind one face.

It stands in for the network's other side where the front cannot be made to misbehave on demand: UNAVAILABLE twice and
then OK, a proxy that answers without details, a server that never answers. `test_against_front` has the real one.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tastemaker.v1 import (
    feedback_service_pb2,
    feedback_service_pb2_grpc,
    recommendation_service_pb2,
    recommendation_service_pb2_grpc,
)
from tastemaker_client import AsyncClient, Client


@dataclass(frozen=True)
class Refusal:
    """An answer that is an error."""

    code: grpc.StatusCode
    message: str = "refused"
    details: Sequence[Message] = ()
    trailer: bytes | None = None
    """What goes into grpc-status-details-bin; None to put `details` there, nothing if there are none."""

    def send(self, context: grpc.ServicerContext) -> None:
        trailer = self.trailer
        if trailer is None and self.details:
            status = status_pb2.Status(code=self.code.value[0], message=self.message)
            for detail in self.details:
                packed = AnyMessage()
                packed.Pack(detail)
                status.details.append(packed)
            trailer = status.SerializeToString()
        if trailer is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", trailer),))
        context.abort(self.code, self.message)


@dataclass
class Peer(
    recommendation_service_pb2_grpc.RecommendationServiceServicer,
    feedback_service_pb2_grpc.FeedbackServiceServicer,
    health_pb2_grpc.HealthServicer,
):
    """Answers what is in `answers`, and OK when that is empty."""

    address: str = ""
    answers: deque[Message | Refusal | Callable[[], None]] = field(default_factory=deque)
    """Each is sent once: a response, a refusal, or something to do before answering OK."""
    requests: list[Any] = field(default_factory=list)
    """Every request that arrived, retries too."""
    seconds_left: list[float] = field(default_factory=list)
    """What was left of the deadline of each."""
    request_ids: list[Any] = field(default_factory=list)
    """The id in the metadata of each."""

    def Recommend(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 -- the API's name
        return self._answer(request, context) or recommendation_service_pb2.RecommendResponse(
            items=[
                {"item_id": "50", "score": 4.5, "tier": "TIER_LIVE_MODEL", "reason": "ITEM_REASON_RANKED_FROM_HISTORY"},
                {"item_id": "7", "score": 381, "tier": "TIER_POPULAR", "reason": "ITEM_REASON_POPULAR"},
            ],
            tier="TIER_LIVE_MODEL",
            tier_reports=[
                {"tier": "TIER_LIVE_MODEL", "outcome": "TIER_OUTCOME_USED", "item_count": 1},
                {"tier": "TIER_PRECOMPUTED", "outcome": "TIER_OUTCOME_NO_LIST"},
                {"tier": "TIER_POPULAR", "outcome": "TIER_OUTCOME_USED", "item_count": 1},
            ],
            attribution_token="signed-token",
            request_id=request.request_id or "made-by-the-peer",
        )

    def Feedback(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 -- the API's name
        answer = self._answer(request, context)
        return answer or feedback_service_pb2.FeedbackResponse(accepted_count=len(request.events))

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 -- the API's name
        return self._answer(request, context) or health_pb2.HealthCheckResponse(status="SERVING")

    def _answer(self, request: Any, context: grpc.ServicerContext) -> Message | None:
        self.requests.append(request)
        self.seconds_left.append(context.time_remaining())
        self.request_ids.append(dict(context.invocation_metadata()).get("x-request-id"))
        answer = self.answers.popleft() if self.answers else None
        if isinstance(answer, Message):
            return answer
        if isinstance(answer, Refusal):
            answer.send(context)
        elif answer is not None:
            answer()
        return None

    @property
    def events(self) -> list[Any]:
        """The events of all Feedback requests, in their order."""
        return [event for request in self.requests for event in getattr(request, "events", [])]


@pytest.fixture
def peer() -> Iterator[Peer]:
    served = Peer()
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    recommendation_service_pb2_grpc.add_RecommendationServiceServicer_to_server(served, server)
    feedback_service_pb2_grpc.add_FeedbackServiceServicer_to_server(served, server)
    health_pb2_grpc.add_HealthServicer_to_server(served, server)
    served.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield served
    server.stop(None).wait()


@pytest.fixture
def silence(peer: Peer) -> Iterator[Callable[[], None]]:
    """An answer that does not come before the test ends."""
    end = threading.Event()

    def stay_silent() -> None:
        end.wait(30)

    yield stay_silent
    end.set()


@dataclass(frozen=True)
class _Face:
    """Makes the calls of either client awaitable, and patient: a busy machine must not fail what is not about time."""

    _client: Client | AsyncClient
    _defaults: dict[str, Any]

    @property
    def with_default_deadlines(self) -> "_Face":
        return _Face(self._client, {})

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._client, name)

        def send(*args: Any, **kwargs: Any) -> Any:
            kwargs = self._defaults | kwargs
            if isinstance(self._client, Client):
                return asyncio.to_thread(call, *args, **kwargs)
            return call(*args, **kwargs)

        return send


@pytest.fixture(params=["blocking", "asyncio"])
async def client(request: pytest.FixtureRequest, peer: Peer) -> AsyncIterator[Any]:
    """Each of the two clients, to be awaited."""
    if request.param == "blocking":
        with Client(peer.address) as blocking:
            yield _Face(blocking, {"timeout_seconds": 20})
    else:
        async with AsyncClient(peer.address) as asynchronous:
            yield _Face(asynchronous, {"timeout_seconds": 20})


@pytest.fixture
def refusal() -> type[Refusal]:
    return Refusal


@pytest.fixture
def refused_fields() -> Refusal:
    """A refusal as the front sends it, of two fields."""
    violations = [
        {"field": "events[1].rating", "description": "is 9; send 0.5 to 5"},
        {"field": "events[1].item_id", "description": "is empty; send 1 to 256 bytes of UTF-8"},
    ]
    return Refusal(
        grpc.StatusCode.INVALID_ARGUMENT,
        "events[1].rating: is 9; send 0.5 to 5 (and 1 more)",
        [
            error_details_pb2.ErrorInfo(reason="INVALID_FIELDS", domain="tastemaker", metadata={"field_count": "2"}),
            error_details_pb2.BadRequest(field_violations=violations),
        ],
    )
