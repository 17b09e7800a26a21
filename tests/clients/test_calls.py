"""Both clients: what goes over the wire, and what comes back as a result."""

import datetime
from typing import Any

import grpc
import pytest

from tastemaker_client import (
    AsyncClient,
    Client,
    Event,
    EventType,
    FeedbackReceipt,
    HealthStatus,
    ItemReason,
    RecommendedItem,
    TastemakerError,
    Tier,
    TierOutcome,
    TierReport,
)


async def test_recommend_sends_its_arguments(client: Any, peer: Any) -> None:
    page = await client.recommend("42", "home", max_results=3, request_id="r-1", item_id="i", segment="nl")

    (request,) = peer.requests
    assert (request.user_id, request.surface, request.max_results, request.request_id) == ("42", "home", 3, "r-1")
    assert (request.item_id, request.segment) == ("i", "nl")
    assert page.request_id == "r-1"


async def test_recommend_returns_a_typed_page(client: Any) -> None:
    page = await client.recommend("42", "home")

    assert page.items == (
        RecommendedItem("50", 4.5, Tier.LIVE_MODEL, ItemReason.RANKED_FROM_HISTORY),
        RecommendedItem("7", 381, Tier.POPULAR, ItemReason.POPULAR),
    )
    assert page.item_ids == ("50", "7")
    assert page.tier is Tier.LIVE_MODEL
    assert page.tier_reports == (
        TierReport(Tier.LIVE_MODEL, TierOutcome.USED, 1),
        TierReport(Tier.PRECOMPUTED, TierOutcome.NO_LIST, 0),
        TierReport(Tier.POPULAR, TierOutcome.USED, 1),
    )
    assert page.attribution_token == "signed-token"


async def test_page_says_which_lists_a_tier_looked_into(client: Any, peer: Any) -> None:
    from tastemaker.v1.recommendation_service_pb2 import RecommendResponse

    report = {"tier": "TIER_PRECOMPUTED", "outcome": "TIER_OUTCOME_USED", "item_count": 1, "list_generation": 7}
    peer.answers.append(RecommendResponse(tier_reports=[report | {"list_age": datetime.timedelta(seconds=90)}]))  # type: ignore[arg-type]  # timedelta is taken for Duration

    page = await client.recommend("42", "home")

    assert page.tier_reports == (TierReport(Tier.PRECOMPUTED, TierOutcome.USED, 1, 7, 90.0),)


async def test_values_of_a_newer_server_are_unspecified(client: Any, peer: Any) -> None:
    from tastemaker.v1.recommendation_service_pb2 import RecommendResponse

    peer.answers.append(RecommendResponse(tier=99, items=[{"tier": 99, "reason": 99}], tier_reports=[{"outcome": 99}]))  # type: ignore[arg-type]  # numbers that the enums lack

    page = await client.recommend("42", "home")

    assert page.tier is Tier.UNSPECIFIED
    assert page.items[0].reason is ItemReason.UNSPECIFIED
    assert page.tier_reports[0].outcome is TierOutcome.UNSPECIFIED


async def test_feedback_sends_every_field_of_an_event(client: Any, peer: Any) -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    time = datetime.datetime(1997, 12, 4, 17, 55, 49, 500_000, tzinfo=zone)

    receipt = await client.feedback(
        [Event("42", "50", EventType.RATE, event_id="e-1", time=time, rating=4.5, attribution_token="t")]
    )

    assert receipt == FeedbackReceipt(accepted_count=1, duplicate_count=0)
    (event,) = peer.events
    assert (event.user_id, event.item_id, event.event_id, event.attribution_token) == ("42", "50", "e-1", "t")
    assert (event.event_type, event.rating) == (6, 4.5)
    assert (event.event_time.seconds, event.event_time.nanos) == (881_250_949, 500_000_000)


async def test_what_an_event_lacks_is_not_sent(client: Any, peer: Any) -> None:
    await client.feedback([Event("42", "50", EventType.CONSUME)])

    (event,) = peer.events
    assert not event.HasField("rating")
    assert not event.HasField("event_time")


async def test_an_event_keeps_its_id_when_it_is_sent_again(client: Any, peer: Any) -> None:
    event = Event("42", "50", EventType.CONSUME)

    await client.feedback([event])
    await client.feedback([event])

    assert [sent.event_id for sent in peer.events] == [event.event_id] * 2
    assert Event("42", "50", EventType.CONSUME).event_id != event.event_id


async def test_an_event_of_a_page_is_tied_to_it(client: Any, peer: Any) -> None:
    page = await client.recommend("42", "home")
    await client.feedback([page.event("50", EventType.CLICK)])

    (event,) = peer.events
    assert (event.user_id, event.item_id, event.attribution_token) == ("42", "50", "signed-token")


async def test_every_call_has_a_deadline_by_default(client: Any, peer: Any) -> None:
    await client.health()  # connected, so that the others need not wait for that
    await client.with_default_deadlines.recommend("42", "home")
    await client.with_default_deadlines.feedback([Event("42", "50", EventType.CONSUME)])
    await client.with_default_deadlines.health()

    _, recommend, feedback, health = peer.seconds_left
    # gRPC rounds a deadline up on its way.
    assert recommend == pytest.approx(0.5, abs=0.3)
    assert feedback == pytest.approx(5, abs=0.5)
    assert health == pytest.approx(1, abs=0.3)


async def test_the_callers_deadline_is_sent(client: Any, peer: Any) -> None:
    await client.recommend("42", "home", timeout_seconds=30)

    assert peer.seconds_left[0] == pytest.approx(30, abs=1)


async def test_health_is_the_components(client: Any, peer: Any) -> None:
    from grpc_health.v1.health_pb2 import HealthCheckResponse

    peer.answers.append(HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING))

    assert await client.health("model/rnn") is HealthStatus.NOT_SERVING
    assert await client.health() is HealthStatus.SERVING
    assert [request.service for request in peer.requests] == ["model/rnn", ""]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"user_id": 42}, r"user_id cannot be 42 \(int\)"),
        ({"user_id": None, "max_results": 1.5}, r"max_results cannot be 1.5 \(float\)"),
        ({"max_results": 10**12}, r"max_results cannot be 1000000000000 \(int\)"),
        ({"surface": "\udcff"}, r"surface cannot be '\\udcff' \(str\)"),
    ],
)
async def test_what_cannot_be_sent_is_named(client: Any, peer: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        await client.recommend(**{"user_id": "42", "surface": "home"} | arguments)
    assert not peer.requests


def test_a_client_may_be_made_before_the_event_loop_runs(peer: Any) -> None:
    import asyncio

    client = AsyncClient(peer.address)

    async def ask() -> Tier:
        async with client:
            return (await client.recommend("42", "home")).tier

    assert asyncio.run(ask()) is Tier.LIVE_MODEL


async def test_credentials_are_used() -> None:
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", grpc.local_server_credentials())
    await server.start()
    try:
        async with AsyncClient(f"127.0.0.1:{port}", credentials=grpc.local_channel_credentials()) as client:
            with pytest.raises(TastemakerError, match="UNIMPLEMENTED"):
                await client.recommend("42", "home", timeout_seconds=5)
    finally:
        await server.stop(None)


def test_options_of_the_caller_come_before_ours(peer: Any) -> None:
    options = {"grpc.max_receive_message_length": 1}

    with Client(peer.address, options=options) as client, pytest.raises(TastemakerError, match="RESOURCE_EXHAUSTED"):
        client.recommend("42", "home", timeout_seconds=5)
