"""`Recommend` over the wire of a real front, without a model server: what every tier but LIVE_MODEL must do."""

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from tastemaker.v1 import recommendation_service_pb2 as pb
from tastemaker_server.online_store.sqlite import SqliteOnlineStore
from tastemaker_server.testing import OnlineStoreContract, generation_info, list_of, make_event


@pytest.fixture
def popular_wire(wire: Any) -> Any:
    """A front where item iN was consumed by N users of crowd-1 … crowd-20."""
    events = [
        make_event(f"crowd-{item}-{user}", user_id=f"crowd-{user}", item_id=f"i{item}")
        for item in range(1, 21)
        for user in range(1, item + 1)
    ]
    wire.feedback(*events)
    return wire


def _outcomes(response: pb.RecommendResponse) -> list[tuple[str, str, int]]:
    return [
        (
            pb.Tier.Name(report.tier).removeprefix("TIER_"),
            pb.TierOutcome.Name(report.outcome).removeprefix("TIER_OUTCOME_"),
            report.item_count,
        )
        for report in response.tier_reports
    ]


def test_new_front_answers_with_an_empty_page(wire: Any) -> None:
    response = wire.recommend("anyone")
    assert list(response.items) == []
    assert response.tier == pb.TIER_POPULAR
    assert _outcomes(response) == [
        ("LIVE_MODEL", "NO_HISTORY", 0),
        ("PRECOMPUTED", "NO_LIST", 0),
        ("POPULAR", "EMPTY", 0),
    ]


def test_unknown_user_gets_popular_items(popular_wire: Any) -> None:
    response = popular_wire.recommend("nobody", max_results=3)
    assert [(item.item_id, item.score) for item in response.items] == [("i20", 20), ("i19", 19), ("i18", 18)]
    assert {item.tier for item in response.items} == {response.tier} == {pb.TIER_POPULAR}
    assert {item.reason for item in response.items} == {pb.ITEM_REASON_POPULAR}
    assert _outcomes(response)[0] == ("LIVE_MODEL", "NO_HISTORY", 0)
    assert _outcomes(response)[2] == ("POPULAR", "USED", 3)


def test_consumed_items_do_not_return_and_the_page_stays_full(popular_wire: Any) -> None:
    assert popular_wire.item_ids("u1", max_results=5)[:2] == ["i20", "i19"]
    popular_wire.feedback(make_event("x", item_id="i20"), make_event("y", item_id="i18"))
    assert popular_wire.item_ids("u1", max_results=5) == ["i19", "i17", "i16", "i15", "i14"]


def test_user_with_history_is_served_from_the_next_tier_without_a_model_server(popular_wire: Any) -> None:
    popular_wire.feedback(make_event("x", item_id="i20"))
    response = popular_wire.recommend("u1")
    assert len(response.items) == 10
    assert response.tier == pb.TIER_POPULAR
    assert _outcomes(response)[0] == ("LIVE_MODEL", "UNAVAILABLE", 0)


def test_zero_takes_the_surfaces_default_and_more_than_the_cap_is_capped(
    start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    front = start_front('[surfaces.home]\ntiers = ["POPULAR"]\ndefault_results = 2\nmax_results = 4\n')
    wire = connect(front.address)
    wire.feedback(*[make_event(str(number), user_id="x", item_id=f"i{number}") for number in range(9)])
    assert len(wire.item_ids("u1")) == 2
    assert len(wire.item_ids("u1", max_results=4)) == 4
    assert len(wire.item_ids("u1", max_results=1_000_000)) == 4


def test_page_ends_where_every_tier_ends(popular_wire: Any) -> None:
    assert len(popular_wire.item_ids("u1", max_results=50)) == 20


def test_precomputed_list_comes_before_popular_and_is_filled_up(
    tmp_path: Path, start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    data_dir = tmp_path / "front"
    data_dir.mkdir()

    async def publish() -> None:
        store = SqliteOnlineStore(data_dir / "online.db", policy=OnlineStoreContract.POLICY)
        await store.put_lists("home", 1, [("u1", list_of("p1", "p2", "p3"))])
        await store.activate_lists("home", generation_info(1))
        await store.close()

    asyncio.run(publish())
    wire = connect(start_front(data_dir=data_dir).address)
    wire.feedback(
        make_event("a", item_id="p2"),
        make_event("b", user_id="x", item_id="i1"),
        make_event("c", user_id="x", item_id="p1"),
    )
    response = wire.recommend("u1")
    assert [(item.item_id, item.tier) for item in response.items] == [
        ("p1", pb.TIER_PRECOMPUTED),
        ("p3", pb.TIER_PRECOMPUTED),
        ("i1", pb.TIER_POPULAR),
    ]
    assert response.tier == pb.TIER_PRECOMPUTED
    assert _outcomes(response)[1:] == [("PRECOMPUTED", "USED", 2), ("POPULAR", "USED", 1)]
    short = wire.recommend("u1", max_results=1)
    assert _outcomes(short)[1:] == [("PRECOMPUTED", "USED", 1), ("POPULAR", "NOT_NEEDED", 0)]


def test_hanging_model_server_does_not_break_the_callers_deadline(
    start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:  # takes connections and never says a word
        port = hanging.getsockname()[1]
        front = start_front(
            f'[model_server]\naddress = "127.0.0.1:{port}"\n[surfaces.home]\nmodel = "rnn"\n'
            "live_model_timeout_milliseconds = 10000\n"
        )
        wire = connect(front.address)
        wire.feedback(make_event("a", item_id="i1"), make_event("b", user_id="x", item_id="i2"))
        started = time.monotonic()
        response = wire.recommend("u1", timeout=0.4)  # raises DEADLINE_EXCEEDED if it is late
        assert time.monotonic() - started < 0.4
        assert [item.item_id for item in response.items] == ["i2"]
        assert _outcomes(response)[0] in [("LIVE_MODEL", "TIMED_OUT", 0), ("LIVE_MODEL", "UNAVAILABLE", 0)]


def test_deadline_too_short_for_the_model_skips_it(
    start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    front = start_front('[surfaces.home]\nmodel = "rnn"\nreserve_milliseconds = 5000\n')
    wire = connect(front.address)
    wire.feedback(make_event("a", item_id="i1"), make_event("b", user_id="x", item_id="i2"))
    response = wire.recommend("u1", timeout=2)
    assert _outcomes(response) == [
        ("LIVE_MODEL", "SKIPPED_FOR_DEADLINE", 0),
        ("PRECOMPUTED", "NO_LIST", 0),
        ("POPULAR", "USED", 1),
    ]


def test_call_without_a_deadline_gets_the_surfaces(
    start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    front = start_front(
        '[surfaces.home]\nmodel = "rnn"\nreserve_milliseconds = 400\ndefault_deadline_milliseconds = 300\n'
    )
    wire = connect(front.address)
    wire.feedback(make_event("a", item_id="i1"))
    assert _outcomes(wire.recommend("u1", timeout=None))[0] == ("LIVE_MODEL", "SKIPPED_FOR_DEADLINE", 0)


def test_request_id_is_echoed_or_made(wire: Any) -> None:
    assert wire.recommend(request_id="mine").request_id == "mine"
    made = {wire.recommend().request_id for _ in range(3)}
    assert len(made) == 3
    assert "" not in made


def test_every_bad_field_is_named_at_once(wire: Any, call_error: Callable[..., Any]) -> None:
    error = call_error(wire.recommend, "", "", max_results=-1, request_id="a\nb", item_id="x" * 257, segment="\x7f")
    assert error.code == grpc.StatusCode.INVALID_ARGUMENT
    assert (error.reason, error.domain) == ("INVALID_FIELDS", "tastemaker")
    assert error.fields == {
        "user_id": "is empty; send 1 to 256 bytes of UTF-8",
        "surface": "is empty; send 1 to 128 bytes of UTF-8",
        "request_id": "has the control character '\\n' at index 1; leave it out",
        "item_id": "has 257 bytes; send at most 256",
        "segment": "has the control character '\\x7f' at index 0; leave it out",
        "max_results": "is -1; send 0 for the surface's default, or more",
    }
    assert error.metadata == {"field_count": "6"}


@pytest.mark.parametrize(
    ("user_id", "is_good"),
    [("x" * 256, True), ("x" * 257, False), ("é" * 128, True), ("é" * 129, False), ("😀" * 64, True)],
)
def test_user_id_is_bounded_in_bytes(wire: Any, call_error: Callable[..., Any], user_id: str, is_good: bool) -> None:
    if is_good:
        wire.recommend(user_id)
    else:
        error = call_error(wire.recommend, user_id)
        assert error.fields == {"user_id": f"has {len(user_id.encode())} bytes; send at most 256"}


def test_unknown_surface_names_the_known_ones(wire: Any, call_error: Callable[..., Any]) -> None:
    error = call_error(wire.recommend, "u1", "hoem")
    assert error.code == grpc.StatusCode.NOT_FOUND
    assert error.reason == "UNKNOWN_SURFACE"
    assert error.metadata == {"surface": "hoem", "known_surfaces": "home"}
    assert "known surfaces: home" in error.message
