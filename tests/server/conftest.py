"""Fixtures for tests that speak to a front over its wire."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.servers.predicting import Predicting
from tests.servers.prometheus import Scrape, front_metrics_url, scrape

from tastemaker.v1 import (
    feedback_service_pb2,
    feedback_service_pb2_grpc,
    recommendation_service_pb2,
    recommendation_service_pb2_grpc,
)


@dataclass
class Wire:
    """Plain generated stubs: what a caller in any language has."""

    channel: grpc.Channel

    def __post_init__(self) -> None:
        self._recommend = recommendation_service_pb2_grpc.RecommendationServiceStub(self.channel)
        self._feedback = feedback_service_pb2_grpc.FeedbackServiceStub(self.channel)

    def recommend(
        self, user_id: str = "u1", surface: str = "home", *, timeout: float | None = 5, **fields: Any
    ) -> recommendation_service_pb2.RecommendResponse:
        request = recommendation_service_pb2.RecommendRequest(user_id=user_id, surface=surface, **fields)
        return self._recommend.Recommend(request, timeout=timeout)

    def start_recommend(self, user_id: str, *, timeout: float) -> Any:
        """A call that goes on; its `result()` waits for the answer."""
        request = recommendation_service_pb2.RecommendRequest(user_id=user_id, surface="home")
        return self._recommend.Recommend.future(request, timeout=timeout)

    def feedback(self, *events: feedback_service_pb2.FeedbackEvent) -> feedback_service_pb2.FeedbackResponse:
        return self._feedback.Feedback(feedback_service_pb2.FeedbackRequest(events=events), timeout=10)

    def item_ids(self, user_id: str = "u1", **fields: Any) -> list[str]:
        return [item.item_id for item in self.recommend(user_id, **fields).items]


@dataclass
class CallError:
    """An error as a caller sees it, its details unpacked."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    domain: str = ""
    metadata: dict[str, str] | None = None
    fields: dict[str, str] | None = None
    """Bad fields with their descriptions."""
    retry_delay_seconds: float | None = None


@pytest.fixture
def call_error() -> Callable[..., CallError]:
    """Runs a call that must fail, and returns its error: `call_error(wire.recommend, "u1", "nowhere")`."""

    def run(call: Callable[..., Any], *arguments: Any, **keywords: Any) -> CallError:
        with pytest.raises(grpc.RpcError) as raised:
            call(*arguments, **keywords)
        error: Any = raised.value
        seen = CallError(error.code(), error.details())
        status = rpc_status.from_call(error)
        for detail in status.details if status is not None else []:
            info, bad, retry = (
                error_details_pb2.ErrorInfo(),
                error_details_pb2.BadRequest(),
                error_details_pb2.RetryInfo(),
            )
            if detail.Unpack(info):
                seen.reason, seen.domain, seen.metadata = info.reason, info.domain, dict(info.metadata)
            elif detail.Unpack(bad):
                seen.fields = {violation.field: violation.description for violation in bad.field_violations}
            elif detail.Unpack(retry):
                seen.retry_delay_seconds = retry.retry_delay.ToMilliseconds() / 1000
        return seen

    return run


@pytest.fixture
def connect() -> Iterator[Callable[[str], Wire]]:
    """Opens stubs to an address."""
    channels: list[grpc.Channel] = []

    def open_wire(address: str) -> Wire:
        # Without a share of connections: a front that was started anew on the same port gets a new one at once.
        channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        channels.append(channel)
        return Wire(channel)

    yield open_wire
    for channel in channels:
        channel.close()


@pytest.fixture
def wire(start_front: Callable[..., Any], connect: Callable[[str], Wire]) -> Wire:
    """Stubs to a new front with the default settings and no model server."""
    return connect(start_front().address)


@pytest.fixture
def start_metered(
    start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> Callable[..., tuple[Any, Callable[[], Scrape], str]]:
    """Starts a front with metrics: `start_metered(toml)` gives stubs, a way to scrape it, and where it is scraped."""

    def start(toml: str = "") -> tuple[Any, Callable[[], Scrape], str]:
        front = start_front('[metrics]\naddress = "127.0.0.1:0"\n' + toml)
        url = front_metrics_url(front.log)
        return connect(front.address), lambda: scrape(url), url

    return start


@pytest.fixture
def predicting() -> Iterator[tuple[Predicting, str]]:
    """A model server, and the lines of a front's settings that name it."""
    handler = Predicting()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    surface = 'model = "rnn"\nlive_model_timeout_milliseconds = 20000\nreserve_milliseconds = 0\n'
    yield handler, f'[model_server]\naddress = "127.0.0.1:{port}"\n[surfaces.home]\n{surface}'
    handler.may_answer.set()
    server.stop(None).wait()
