"""How failures become exceptions, and which of them are retried; for both clients."""

import pickle
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from tastemaker.v1.error_reason_pb2 import ErrorReason
from tastemaker_client import (
    DeadlineExceededError,
    Event,
    EventIdReusedError,
    EventType,
    FieldViolation,
    InternalError,
    InvalidRequestError,
    TastemakerError,
    UnavailableError,
    UnknownSurfaceError,
    errors,
)

EVENT = Event("42", "50", EventType.CONSUME)


def info(reason: str, domain: str = "tastemaker", **metadata: str) -> Any:
    return error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata)


async def test_unavailable_is_retried_until_it_is_over(client: Any, peer: Any, refusal: Any) -> None:
    peer.answers += [refusal(grpc.StatusCode.UNAVAILABLE)] * 2

    receipt = await client.feedback([EVENT])

    assert receipt.accepted_count == 1
    assert [event.event_id for event in peer.events] == [EVENT.event_id] * 3


async def test_unavailable_is_tried_four_times(client: Any, peer: Any, refusal: Any) -> None:
    delay = error_details_pb2.RetryInfo(retry_delay=Duration(nanos=500_000_000))
    details = [info("STORE_UNAVAILABLE", store="event_log"), delay]
    peer.answers += [refusal(grpc.StatusCode.UNAVAILABLE, "event_log is unavailable", details)] * 10

    with pytest.raises(UnavailableError) as caught:
        await client.feedback([EVENT], request_id="r-1")

    assert len(peer.requests) == 4
    assert caught.value.reason == "STORE_UNAVAILABLE"
    assert caught.value.metadata == {"store": "event_log"}
    assert caught.value.retry_delay_seconds == 0.5
    assert str(caught.value) == "STORE_UNAVAILABLE: event_log is unavailable [request r-1]"


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.name not in ("OK", "UNAVAILABLE")])
async def test_nothing_else_is_retried(client: Any, peer: Any, refusal: Any, code: grpc.StatusCode) -> None:
    peer.answers.append(refusal(code))

    with pytest.raises(TastemakerError) as caught:
        await client.feedback([EVENT])

    assert caught.value.code is code
    assert len(peer.requests) == 1


async def test_invalid_fields_are_all_listed(client: Any, peer: Any, refused_fields: Any) -> None:
    peer.answers.append(refused_fields)

    with pytest.raises(InvalidRequestError) as caught:
        await client.feedback([EVENT], request_id="r-1")

    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.field_count == 2
    assert caught.value.field_violations == (
        FieldViolation("events[1].rating", "is 9; send 0.5 to 5"),
        FieldViolation("events[1].item_id", "is empty; send 1 to 256 bytes of UTF-8"),
    )
    assert str(caught.value).splitlines() == [
        "INVALID_FIELDS: 2 wrong [request r-1]",
        "  events[1].rating: is 9; send 0.5 to 5",
        "  events[1].item_id: is empty; send 1 to 256 bytes of UTF-8",
    ]


async def test_unknown_surface_names_those_that_there_are(client: Any, peer: Any, refusal: Any) -> None:
    details = [info("UNKNOWN_SURFACE", surface="hoem", known_surfaces="home,similar")]
    peer.answers.append(refusal(grpc.StatusCode.NOT_FOUND, details=details))

    with pytest.raises(UnknownSurfaceError) as caught:
        await client.recommend("42", "hoem")

    assert caught.value.known_surfaces == ("home", "similar")


async def test_a_reused_event_id_lists_the_events(client: Any, peer: Any, refusal: Any) -> None:
    violation = {"field": "events[0].event_id", "description": "was sent before"}
    details = [info("EVENT_ID_REUSED"), error_details_pb2.BadRequest(field_violations=[violation])]
    peer.answers.append(refusal(grpc.StatusCode.ALREADY_EXISTS, details=details))

    with pytest.raises(EventIdReusedError) as caught:
        await client.feedback([EVENT])

    assert caught.value.field_violations == (FieldViolation("events[0].event_id", "was sent before"),)


async def test_a_defect_has_an_id_to_look_for(client: Any, peer: Any, refusal: Any) -> None:
    peer.answers.append(refusal(grpc.StatusCode.INTERNAL, details=[info("INTERNAL", incident_id="0b9e6c2e")]))

    with pytest.raises(InternalError) as caught:
        await client.recommend("42", "home")

    assert caught.value.incident_id == "0b9e6c2e"


async def test_no_answer_in_time_is_deadline_exceeded(client: Any, peer: Any, silence: Any) -> None:
    peer.answers.append(silence)

    with pytest.raises(DeadlineExceededError) as caught:
        await client.recommend("42", "home", timeout_seconds=0.1)

    assert caught.value.reason == ""
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequestError),
        (grpc.StatusCode.UNKNOWN, InternalError),
        (grpc.StatusCode.NOT_FOUND, TastemakerError),
        (grpc.StatusCode.ALREADY_EXISTS, TastemakerError),
        (grpc.StatusCode.PERMISSION_DENIED, TastemakerError),
    ],
)
async def test_an_answer_without_details_goes_by_its_code(
    client: Any, peer: Any, refusal: Any, code: grpc.StatusCode, kind: type[TastemakerError]
) -> None:
    peer.answers.append(refusal(code, "says the proxy"))

    with pytest.raises(TastemakerError) as caught:
        await client.recommend("42", "home", request_id="r-1")

    assert type(caught.value) is kind
    assert caught.value.reason == ""
    assert not caught.value.metadata
    assert str(caught.value) == f"{code.name}: says the proxy [request r-1]"


@pytest.mark.parametrize("trailer", [b"\xff\xff\xff", b"\x08\x05\x12\x05other", b""])
async def test_details_that_make_no_sense_are_passed_over(client: Any, peer: Any, refusal: Any, trailer: bytes) -> None:
    peer.answers.append(refusal(grpc.StatusCode.INVALID_ARGUMENT, trailer=trailer))

    with pytest.raises(InvalidRequestError) as caught:
        await client.recommend("42", "home")

    assert caught.value.field_violations == ()


async def test_a_reason_of_another_domain_is_not_ours(client: Any, peer: Any, refusal: Any) -> None:
    details = [info("UNKNOWN_SURFACE", domain="proxy.example")]
    peer.answers.append(refusal(grpc.StatusCode.NOT_FOUND, details=details))

    with pytest.raises(TastemakerError) as caught:
        await client.recommend("42", "home")

    assert (type(caught.value), caught.value.reason) == (TastemakerError, "")


async def test_a_reason_of_a_newer_server_is_kept_and_the_code_decides(client: Any, peer: Any, refusal: Any) -> None:
    peer.answers.append(refusal(grpc.StatusCode.INVALID_ARGUMENT, details=[info("TOO_MUCH", limit="3")]))

    with pytest.raises(InvalidRequestError) as caught:
        await client.recommend("42", "home")

    assert (caught.value.reason, caught.value.metadata) == ("TOO_MUCH", {"limit": "3"})


@pytest.mark.parametrize("message", ["größer, 大, \N{BUG}", "two\nlines", ""])
async def test_messages_in_any_script_keep_their_details(client: Any, peer: Any, refusal: Any, message: str) -> None:
    peer.answers.append(refusal(grpc.StatusCode.NOT_FOUND, message, [info("UNKNOWN_SURFACE")]))

    with pytest.raises(UnknownSurfaceError) as caught:
        await client.recommend("42", "home")

    assert caught.value.message == message


async def test_an_error_can_be_pickled(client: Any, peer: Any, refused_fields: Any) -> None:
    peer.answers.append(refused_fields)
    with pytest.raises(InvalidRequestError) as caught:
        await client.feedback([EVENT])

    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 -- our own bytes

    assert (type(copy), str(copy), copy.code) == (InvalidRequestError, str(caught.value), caught.value.code)


def test_every_reason_of_the_contract_has_an_exception() -> None:
    names = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118 -- not a dict

    assert set(errors._BY_REASON) == names


def test_the_module_draws_every_exception() -> None:
    kinds = [name for name in errors.__all__ if name.endswith("Error")]

    assert [name for name in kinds if f" {name} " not in (errors.__doc__ or "")] == []
