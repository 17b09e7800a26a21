"""Importing: each user's events in order, several calls at a time, and what is said when a call fails."""

import collections
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from tastemaker.v1.feedback_service_pb2 import FeedbackResponse
from tastemaker_client import Client, Event, EventType, FeedbackReceipt, UnavailableError
from tastemaker_client.event_file import EventRow
from tastemaker_client.import_events import LANE_COUNT, ImportStoppedError, import_events

ROWS = [EventRow(line, Event("42", str(line), EventType.CONSUME)) for line in range(2, 1203)]


@pytest.fixture
def blocking(peer: Any) -> Iterator[Client]:
    with Client(peer.address) as client:
        yield client


def test_a_users_events_arrive_in_the_order_of_the_file_500_to_a_call(blocking: Client, peer: Any) -> None:
    receipt = import_events(blocking, iter(ROWS), timeout_seconds=20)

    assert receipt == FeedbackReceipt(accepted_count=1201, duplicate_count=0)
    assert [len(request.events) for request in peer.requests] == [500, 500, 201]
    assert [event.item_id for event in peer.events] == [row.event.item_id for row in ROWS]


def test_every_users_events_arrive_in_order_whatever_the_others_do(blocking: Client, peer: Any) -> None:
    rows = [EventRow(n + 2, Event(str(n * n % 37), str(n), EventType.CONSUME)) for n in range(9000)]

    receipt = import_events(blocking, rows, timeout_seconds=20)

    assert receipt.accepted_count == 9000
    arrived = collections.defaultdict(list)
    for event in peer.events:
        arrived[event.user_id].append(int(event.item_id))
    assert len(arrived) > LANE_COUNT
    assert all(item_ids == sorted(item_ids) for item_ids in arrived.values())


def test_calls_for_different_users_overlap(blocking: Client, peer: Any) -> None:
    meeting = threading.Barrier(2, timeout=20)
    peer.answers += [meeting.wait, meeting.wait]  # neither is answered before both have arrived

    receipt = import_events(
        blocking,
        [EventRow(2 + n, Event(str(n), "50", EventType.CONSUME)) for n in range(2)],
        timeout_seconds=20,
    )

    assert receipt.accepted_count == 2


def test_what_other_calls_stored_is_counted_when_one_fails(blocking: Client, peer: Any, refusal: Any) -> None:
    rows = [EventRow(2 + n, Event(str(n), "50", EventType.CONSUME)) for n in range(40)]
    peer.answers.append(refusal(grpc.StatusCode.INTERNAL))

    with pytest.raises(ImportStoppedError) as caught:
        import_events(blocking, rows, timeout_seconds=20)

    refused, *stored = peer.requests
    assert caught.value.stored.accepted_count == sum(len(request.events) for request in stored)
    assert 0 < len(refused.events) < 40


def test_progress_is_told_after_each_call(blocking: Client, peer: Any) -> None:
    told: list[int] = []
    peer.answers += [FeedbackResponse(accepted_count=300, duplicate_count=200)]

    receipt = import_events(blocking, ROWS, timeout_seconds=20, progress=told.append)

    assert told == [500, 1000, 1201]
    assert receipt == FeedbackReceipt(accepted_count=1001, duplicate_count=200)


def test_a_refused_row_is_named_by_its_line(blocking: Client, peer: Any, refused_fields: Any) -> None:
    peer.answers += [FeedbackResponse(accepted_count=500), refused_fields]

    with pytest.raises(ImportStoppedError) as caught:
        import_events(blocking, ROWS, timeout_seconds=20)

    assert caught.value.stored == FeedbackReceipt(accepted_count=500, duplicate_count=0)
    assert caught.value.bad_rows == [
        "line 503: rating: is 9; send 0.5 to 5",
        "line 503: item_id: is empty; send 1 to 256 bytes of UTF-8",
    ]


def test_a_refusal_of_the_whole_call_names_its_field(blocking: Client, peer: Any, refusal: Any) -> None:
    bad = error_details_pb2.BadRequest(field_violations=[{"field": "events", "description": "too many"}])
    peer.answers.append(refusal(grpc.StatusCode.INVALID_ARGUMENT, details=[bad]))

    with pytest.raises(ImportStoppedError) as caught:
        import_events(blocking, ROWS, timeout_seconds=20)

    assert caught.value.bad_rows == ["events: too many"]


def test_a_server_that_goes_away_stops_it_after_the_retries(blocking: Client, peer: Any, refusal: Any) -> None:
    peer.answers += [FeedbackResponse(accepted_count=500)] + [refusal(grpc.StatusCode.UNAVAILABLE)] * 4

    with pytest.raises(ImportStoppedError) as caught:
        import_events(blocking, ROWS, timeout_seconds=20)

    assert isinstance(caught.value.cause, UnavailableError)
    assert caught.value.stored.accepted_count == 500
    assert caught.value.bad_rows == []
    assert len(peer.requests) == 5
