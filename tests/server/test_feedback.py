"""`Feedback` over the wire of a real front: durable, counted once, seen by the next call; bad input refused whole."""

import itertools
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from tastemaker.v1 import feedback_service_pb2 as pb
from tastemaker_server.testing import make_event


def _stored_ids(data_dir: Any) -> list[str]:
    with sqlite3.connect(data_dir / "events.db") as connection:
        return [event_id for (event_id,) in connection.execute("SELECT event_id FROM events ORDER BY position")]


def test_event_counts_once_however_often_it_is_sent(wire: Any) -> None:
    first = wire.feedback(make_event("a"), make_event("b", item_id="i2"))
    again = wire.feedback(make_event("a"), make_event("c", item_id="i3"))
    assert (first.accepted_count, first.duplicate_count) == (2, 0)
    assert (again.accepted_count, again.duplicate_count) == (1, 1)
    popular = wire.recommend("other")
    assert {item.item_id: item.score for item in popular.items} == {"i1": 1, "i2": 1, "i3": 1}


def test_feedback_shows_in_the_next_recommend(wire: Any) -> None:
    wire.feedback(*[make_event(f"x{number}", user_id="x", item_id=f"i{number}") for number in range(30)])
    seen: set[str] = set()
    for number in range(10):
        (top, *_) = wire.item_ids("u1")
        assert top not in seen
        wire.feedback(make_event(f"u{number}", item_id=top))
        seen.add(top)


def test_only_consuming_events_keep_an_item_off_the_page(wire: Any) -> None:
    wire.feedback(make_event("x", user_id="x", item_id="viewed"), make_event("y", user_id="x", item_id="bought"))
    wire.feedback(
        make_event("a", item_id="viewed", event_type=pb.EVENT_TYPE_VIEW),
        make_event("b", item_id="bought", event_type=pb.EVENT_TYPE_PURCHASE),
    )
    assert wire.item_ids("u1") == ["viewed"]


def test_kill_loses_no_acknowledged_event_and_counts_none_twice(
    start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    front = start_front()
    wire = connect(front.address)
    acknowledged: list[int] = []
    sent = itertools.count()

    def write() -> None:
        try:
            while True:
                number = next(sent)
                wire.feedback(*[make_event(f"e{number}-{part}", item_id=f"i{number}-{part}") for part in range(2)])
                acknowledged.append(number)
        except grpc.RpcError:
            return

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 20
    while len(acknowledged) < 100 and time.monotonic() < deadline:
        time.sleep(0.01)
    front.kill()
    for writer in writers:
        writer.join()
    assert len(acknowledged) >= 100

    stored = _stored_ids(front.data_dir)
    assert set(stored) >= {f"e{number}-{part}" for number in acknowledged for part in range(2)}
    assert len(stored) == len(set(stored))
    assert len(stored) % 2 == 0  # all of a call, or nothing

    again = connect(start_front(data_dir=front.data_dir).address)
    number = acknowledged[-1]
    response = again.feedback(*[make_event(f"e{number}-{part}", item_id=f"i{number}-{part}") for part in range(2)])
    assert (response.accepted_count, response.duplicate_count) == (0, 2)
    scores = {item.score for item in again.recommend("other", max_results=100).items}
    assert scores == {1.0}


def test_events_stored_but_not_applied_before_a_kill_are_applied_at_the_next_start(
    start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    front = start_front()
    connect(front.address).feedback(make_event("a", item_id="i1"), make_event("b", item_id="i2"))
    front.kill()
    for leftover in front.data_dir.glob("online.db*"):  # as if nothing of it had reached the disk
        leftover.unlink()
    again = connect(start_front(data_dir=front.data_dir).address)
    assert sorted(again.item_ids("other")) == ["i1", "i2"]
    assert again.item_ids("u1") == []


def test_attribution_token_of_a_list_is_accepted_and_any_other_refused(
    wire: Any, call_error: Callable[..., Any]
) -> None:
    token = wire.recommend("u1").attribution_token
    assert 1 <= len(token) <= 512
    good, forged = make_event("a"), make_event("b")
    good.attribution_token = token
    wire.feedback(good)
    forged.attribution_token = ("A" if token[0] != "A" else "B") + token[1:]
    error = call_error(wire.feedback, forged)
    assert list(error.fields) == ["events[0].attribution_token"]


def _broken(event_id: str = "e", **fields: Any) -> pb.FeedbackEvent:
    event = pb.FeedbackEvent(event_id=event_id, user_id="u1", item_id="i1", event_type=pb.EVENT_TYPE_CONSUME)
    for name, value in fields.items():
        if name == "seconds":
            event.event_time.seconds = value
        elif name == "nanos":
            event.event_time.nanos = value
        else:
            setattr(event, name, value)
    return event


@pytest.mark.parametrize(
    ("event", "field", "words"),
    [
        (_broken(event_id=""), "event_id", "is empty; send 1 to 128 bytes"),
        (_broken(event_id="x" * 129), "event_id", "has 129 bytes; send at most 128"),
        (_broken(user_id=""), "user_id", "is empty"),
        (_broken(user_id="x" * 257), "user_id", "has 257 bytes"),
        (_broken(item_id=""), "item_id", "is empty"),
        (_broken(item_id="a\x00b"), "item_id", "control character"),
        (_broken(event_type=pb.EVENT_TYPE_UNSPECIFIED), "event_type", "EVENT_TYPE_VIEW, EVENT_TYPE_CLICK"),
        (_broken(event_type=99), "event_type", "is 99; send one of"),
        (_broken(event_type=pb.EVENT_TYPE_RATE), "rating", "is missing; EVENT_TYPE_RATE needs one from 0.5 to 5"),
        (_broken(event_type=pb.EVENT_TYPE_RATE, rating=7), "rating", "is 7; send 0.5 to 5"),
        (_broken(event_type=pb.EVENT_TYPE_RATE, rating=0.25), "rating", "is 0.25; send 0.5 to 5"),
        (_broken(event_type=pb.EVENT_TYPE_RATE, rating=float("nan")), "rating", "is nan"),
        (_broken(rating=3), "rating", "only EVENT_TYPE_RATE has a rating"),
        (_broken(seconds=4_000_000_000), "event_time", "after the server's clock"),
        (_broken(seconds=-1), "event_time", "before 1970"),
        (_broken(seconds=1, nanos=-5), "event_time", "has -5 nanos"),
        (_broken(attribution_token="nonsense"), "attribution_token", "send the token of a RecommendResponse unchanged"),
    ],
)
def test_bad_event_is_refused_by_field(
    wire: Any, call_error: Callable[..., Any], event: pb.FeedbackEvent, field: str, words: str
) -> None:
    error = call_error(wire.feedback, event)
    assert error.code == grpc.StatusCode.INVALID_ARGUMENT
    assert error.reason == "INVALID_FIELDS"
    assert list(error.fields) == [f"events[0].{field}"]
    assert words in error.fields[f"events[0].{field}"]


def test_one_bad_event_stores_none_of_the_call(
    start_front: Callable[..., Any], connect: Callable[[str], Any], call_error: Callable[..., Any]
) -> None:
    front = start_front()
    wire = connect(front.address)
    error = call_error(wire.feedback, make_event("good"), _broken(event_id="", item_id=""), _broken(rating=3))
    assert list(error.fields) == ["events[1].event_id", "events[1].item_id", "events[2].rating"]
    assert _stored_ids(front.data_dir) == []


@pytest.mark.parametrize("count", [0, 501])
def test_number_of_events_is_bounded(wire: Any, call_error: Callable[..., Any], count: int) -> None:
    error = call_error(wire.feedback, *[make_event(str(number)) for number in range(count)])
    assert error.fields == {"events": f"has {count} events; send 1 to 500 in a call"}


def test_list_of_many_bad_fields_fits_into_the_answer(wire: Any, call_error: Callable[..., Any]) -> None:
    error = call_error(wire.feedback, *[pb.FeedbackEvent() for _ in range(500)])
    assert error.code == grpc.StatusCode.INVALID_ARGUMENT
    assert error.metadata == {"field_count": "2000"}
    assert 20 < len(error.fields) < 2000


def test_event_id_reused_for_another_event_is_refused(wire: Any, call_error: Callable[..., Any]) -> None:
    wire.feedback(make_event("a", item_id="i1"))
    error = call_error(wire.feedback, make_event("new"), make_event("a", item_id="i2"))
    assert error.code == grpc.StatusCode.ALREADY_EXISTS
    assert error.reason == "EVENT_ID_REUSED"
    assert error.metadata == {"event_ids": "a"}
    assert list(error.fields) == ["events[1].event_id"]
    assert wire.feedback(make_event("new")).accepted_count == 1
