"""The id that a call carries: sent with every method, kept over retries, on every error; for both clients."""

import pickle
import re
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from tastemaker_client import Event, EventType, InternalError, TastemakerError, UnavailableError

EVENT = Event("42", "50", EventType.CONSUME)


async def test_every_call_has_an_id_of_its_own(client: Any, peer: Any) -> None:
    await client.recommend("42", "home")
    await client.feedback([EVENT])
    await client.feedback([EVENT])
    await client.health()

    assert len(set(peer.request_ids)) == 4
    assert all(re.fullmatch("[0-9a-f]{32}", request_id) for request_id in peer.request_ids)


async def test_callers_own_id_is_sent(client: Any, peer: Any) -> None:
    await client.recommend("42", "home", request_id="order-17/50%")
    await client.feedback([EVENT], request_id="order-17/50%")
    await client.recommend("42", "home", request_id="zoë 1")

    assert peer.request_ids == ["order-17/50%", "order-17/50%", "zo%C3%AB%201"]
    assert peer.requests[2].request_id == "zoë 1"


async def test_retries_keep_the_id(client: Any, peer: Any, refusal: Any) -> None:
    peer.answers += [refusal(grpc.StatusCode.UNAVAILABLE)] * 4

    with pytest.raises(UnavailableError) as caught:
        await client.feedback([EVENT])

    assert peer.request_ids == [caught.value.request_id] * 4


async def test_error_without_an_answer_has_the_id_that_was_sent(client: Any, peer: Any, silence: Any) -> None:
    peer.answers.append(silence)

    with pytest.raises(TastemakerError) as caught:
        await client.recommend("42", "home", request_id="r-1", timeout_seconds=0.3)

    assert caught.value.request_id == "r-1"
    assert str(caught.value).endswith(" [request r-1]")
    assert pickle.loads(pickle.dumps(caught.value)).request_id == "r-1"  # noqa: S301  # our own


async def test_id_that_the_server_names_comes_before_the_one_that_was_sent(
    client: Any, peer: Any, refusal: Any
) -> None:
    details = [error_details_pb2.RequestInfo(request_id="of-a-proxy")]
    peer.answers.append(refusal(grpc.StatusCode.INTERNAL, details=details))

    with pytest.raises(InternalError) as caught:
        await client.recommend("42", "home", request_id="r-1")

    assert caught.value.request_id == "of-a-proxy"


@pytest.mark.parametrize(
    ("bad", "exception", "message"),
    [
        ("x" * 129, ValueError, "request_id has 129 bytes; use at most 128"),
        ("a\nb", ValueError, r"request_id cannot be 'a\\nb': it has a control character"),
        (7, TypeError, r"request_id cannot be 7 \(int\): expected a text"),
    ],
)
async def test_id_that_cannot_be_kept_is_refused_before_it_is_sent(
    client: Any, peer: Any, bad: Any, exception: type[Exception], message: str
) -> None:
    with pytest.raises(exception, match=message):
        await client.feedback([EVENT], request_id=bad)

    assert not peer.requests


async def test_bad_id_of_a_recommendation_reaches_the_server_which_names_it_with_all_else(
    client: Any, peer: Any
) -> None:
    await client.recommend("", "home", request_id="a\nb" * 10_000)

    assert peer.requests[0].request_id == "a\nb" * 10_000
    assert len(peer.request_ids[0]) == 384
