"""What a front tells Prometheus, over HTTP, of what was asked over gRPC."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from prometheus_client import CollectorRegistry
from tests.servers.predicting import Predicting
from tests.servers.prometheus import scrape, scrape_until

from tastemaker.v1 import recommendation_service_pb2 as pb
from tastemaker.v1.feedback_service_pb2 import EVENT_TYPE_VIEW
from tastemaker_server.event_log.sqlite import SqliteEventLog
from tastemaker_server.metrics.models import ModelMetrics
from tastemaker_server.metrics.stores import StoreMetrics
from tastemaker_server.online_store.sqlite import SqliteOnlineStore
from tastemaker_server.projector import Projector
from tastemaker_server.testing import OnlineStoreContract, generation_info, list_of, make_event

_RECOMMEND = "RecommendationService/Recommend"


def test_pages_and_items_are_counted_by_surface_and_tier(start_metered: Any) -> None:
    wire, metrics, _ = start_metered('[surfaces.home]\nmodel = "rnn"\n[surfaces.cart]\ntiers = ["POPULAR"]\n')
    wire.feedback(*[make_event(str(number), user_id="x", item_id=f"i{number}") for number in range(5)])
    wire.recommend("nobody", max_results=3)
    wire.recommend("nobody", "cart")
    wire.recommend("x")
    seen = metrics()
    pages = {("home", "NONE"): 1, ("home", "POPULAR"): 1, ("cart", "POPULAR"): 1}
    assert seen.samples("tastemaker_front_page_seconds_count") == pages
    assert seen.samples("tastemaker_front_page_items_total") == {("home", "POPULAR"): 3, ("cart", "POPULAR"): 5}
    assert seen.samples("tastemaker_front_tier_outcomes_total") == {
        ("NO_HISTORY", "home", "LIVE_MODEL"): 1,
        ("UNAVAILABLE", "home", "LIVE_MODEL"): 1,
        ("NO_LIST", "home", "PRECOMPUTED"): 2,
        ("EMPTY", "home", "POPULAR"): 1,
        ("USED", "home", "POPULAR"): 1,
        ("USED", "cart", "POPULAR"): 1,
    }
    assert seen.value("tastemaker_front_page_seconds_sum", surface="cart", tier="POPULAR")
    assert seen.samples("tastemaker_front_calls_total")["OK", _RECOMMEND, ""] == 3
    assert seen.value("tastemaker_front_call_seconds_count", method=_RECOMMEND) == 3


def test_errors_are_counted_by_reason_and_what_callers_send_makes_no_label(
    start_metered: Any, call_error: Callable[..., Any]
) -> None:
    wire, metrics, url = start_metered()
    before = {sample.name + str(sample.labels) for family in metrics().families.values() for sample in family.samples}
    for surface in ("nowhere", "elsewhere"):
        call_error(wire.recommend, "u1", surface)
    call_error(wire.recommend, "")
    call_error(wire.channel.unary_unary("/tastemaker.v1.Nonsense/Call"), b"", timeout=5)
    call_error(health_pb2_grpc.HealthStub(wire.channel).Check, health_pb2.HealthCheckRequest(service="x"), timeout=5)
    # A caller has its error a moment before it is counted.
    seen = scrape_until(url, lambda seen: sum(seen.samples("tastemaker_front_calls_total").values()) == 5)
    assert seen.samples("tastemaker_front_calls_total") == {
        ("INVALID_ARGUMENT", _RECOMMEND, "INVALID_FIELDS"): 1,
        ("NOT_FOUND", "Health/Check", ""): 1,
        ("NOT_FOUND", _RECOMMEND, "UNKNOWN_SURFACE"): 2,
        ("UNIMPLEMENTED", "unknown", ""): 1,
    }
    lines = {sample.name + str(sample.labels) for family in seen.families.values() for sample in family.samples}
    assert not [line for line in lines - before if "where" in line or "Nonsense" in line]
    assert seen.value("tastemaker_front_call_seconds_count", method=_RECOMMEND) == 3


def test_events_are_counted_by_type_and_by_what_became_of_them(
    start_metered: Any, call_error: Callable[..., Any]
) -> None:
    wire, metrics, _ = start_metered()
    wire.feedback(make_event("a"), make_event("b", event_type=EVENT_TYPE_VIEW))
    wire.feedback(make_event("a"), make_event("c"))
    call_error(wire.feedback, make_event("d", user_id=""), make_event("e", event_type=EVENT_TYPE_VIEW))
    call_error(wire.feedback, make_event("a", item_id="other"))
    call_error(wire.feedback, make_event("f", event_type=99))
    assert metrics().samples("tastemaker_front_feedback_events_total") == {
        ("accepted", "CONSUME"): 2,
        ("accepted", "VIEW"): 1,
        ("duplicate", "CONSUME"): 1,
        ("rejected", "CONSUME"): 2,
        ("rejected", "VIEW"): 1,
        ("rejected", "UNSPECIFIED"): 1,
    }


@pytest.mark.parametrize(("timeout", "code"), [(30, "CANCELLED"), (2, "DEADLINE_EXCEEDED")])
def test_call_that_its_caller_gives_up_is_counted_as_such(
    start_metered: Any, predicting: tuple[Predicting, str], timeout: float, code: str
) -> None:
    handler, settings = predicting
    handler.may_answer.clear()
    wire, _, url = start_metered(settings)
    wire.feedback(make_event("a"))
    call = wire.start_recommend("u1", timeout=timeout)
    if code == "CANCELLED":
        scrape_until(url, lambda seen: seen.value("tastemaker_front_calls_in_flight", method=_RECOMMEND) == 1)
        call.cancel()
    seen = scrape_until(url, lambda seen: seen.value("tastemaker_front_calls_total", method=_RECOMMEND, code=code))
    assert seen.value("tastemaker_front_calls_in_flight", method=_RECOMMEND) == 0
    assert seen.samples("tastemaker_front_page_seconds_count") == {}
    assert seen.value("tastemaker_front_call_seconds_count", method=_RECOMMEND) == 1


def test_streams_are_counted_whichever_way_they_are_written(start_metered: Any) -> None:
    wire, _, url = start_metered()
    watch = health_pb2_grpc.HealthStub(wire.channel).Watch(health_pb2.HealthCheckRequest(), timeout=20)
    assert next(watch).status
    assert scrape(url).value("tastemaker_front_calls_in_flight", method="Health/Watch") == 1
    watch.cancel()
    assert ProtoReflectionDescriptorDatabase(wire.channel).get_services()
    wire.channel.close()  # ends the stream of reflection
    seen = scrape_until(
        url,
        lambda seen: (
            seen.value("tastemaker_front_calls_in_flight", method="ServerReflection/ServerReflectionInfo") == 0
        ),
    )
    assert seen.value("tastemaker_front_calls_in_flight", method="Health/Watch") == 0
    counted = seen.samples("tastemaker_front_calls_total")
    assert counted.pop(("CANCELLED", "Health/Watch", "")) == 1
    assert [(method, count) for (_, method, _), count in counted.items()] == [
        ("ServerReflection/ServerReflectionInfo", 1)
    ]
    assert not seen.value("tastemaker_front_call_seconds_count", method="Health/Watch")


def test_versions_that_answered_are_known_and_so_is_why_none_did(
    start_metered: Any, predicting: tuple[Predicting, str]
) -> None:
    handler, settings = predicting
    wire, metrics, _ = start_metered(settings)
    wire.feedback(make_event("a"))
    assert wire.recommend("u1", timeout=30).tier == pb.TIER_LIVE_MODEL
    handler.version = 8
    wire.recommend("u1", timeout=30)
    wire.recommend("u1", timeout=30)
    handler.is_broken = True
    wire.recommend("u1", timeout=30)
    handler.version = 0
    wire.recommend("u1", timeout=30)
    seen = metrics()
    assert seen.samples("tastemaker_front_model_answers_total") == {("rnn", "7"): 1, ("rnn", "8"): 2}
    assert seen.samples("tastemaker_front_model_failures_total") == {
        ("rnn", "BROKEN_ANSWER"): 1,
        ("rnn", "NOT_FOUND"): 1,
    }
    assert seen.value("tastemaker_front_model_seconds_count", model="rnn") == 5
    assert seen.samples("tastemaker_front_page_seconds_count")["home", "LIVE_MODEL"] == 3


def test_a_year_of_versions_leaves_the_newest_few() -> None:
    metrics = ModelMetrics(registry=(registry := CollectorRegistry()), models=["rnn"])
    for version in range(1, 366):
        metrics.answered("rnn", version, 0.01)
    (family,) = [family for family in registry.collect() if family.name == "tastemaker_front_model_answers"]
    versions = {int(sample.labels["version"]) for sample in family.samples}
    assert versions == set(range(358, 366))


async def test_lag_and_lists_are_those_of_the_stores(tmp_path: Path) -> None:
    event_log = SqliteEventLog(tmp_path / "events.db")
    store = SqliteOnlineStore(tmp_path / "online.db", policy=OnlineStoreContract.POLICY)
    projector = Projector(event_log=event_log, online_store=store)
    now = 1_700_000_000_000_000
    registry = CollectorRegistry()
    metrics = StoreMetrics(
        registry=registry,
        event_log=event_log,
        online_store=store,
        projector=projector,
        list_names=["home", "popular"],
        now_micros=lambda: now + 60_000_000,
    )

    async def seen(name: str, **labels: str) -> float | None:
        await metrics.look()
        return registry.get_sample_value(f"tastemaker_front_{name}", labels)

    assert await seen("event_log_lag_seconds") == 0
    await event_log.append([make_event("a"), make_event("b")], now)
    await event_log.append([make_event("c")], now + 30_000_000)
    assert await seen("event_log_lag_positions") == 3
    assert await seen("event_log_lag_seconds") == 60
    await projector.catch_up()
    assert await seen("event_log_lag_positions") == 0
    assert await seen("event_log_lag_seconds") == 0
    assert await seen("appends_waiting") == 0

    assert await seen("list_generation", lists="home", kind="user") is None
    await store.put_lists("home", 7, [("u1", list_of("i1"))])
    await store.activate_lists("home", generation_info(7, created_time_micros=now))
    assert await seen("list_generation", lists="home", kind="user") == 7
    assert await seen("list_age_seconds", lists="home", kind="user") == 60
    await event_log.close()
    await store.close()


async def test_calls_that_wait_for_a_commit_are_counted_until_it_is_done(tmp_path: Path) -> None:
    event_log = SqliteEventLog(tmp_path / "events.db")
    appends = [asyncio.ensure_future(event_log.append([make_event(f"{number}")], 1)) for number in range(3)]
    await asyncio.sleep(0)  # each has got to where it waits
    assert event_log.waiting_appends == 3
    await asyncio.gather(*appends)
    assert event_log.waiting_appends == 0
    await event_log.close()


def test_health_is_there_to_be_alerted_on(start_metered: Any) -> None:
    _, _, url = start_metered()
    seen = scrape_until(url, lambda seen: seen.value("tastemaker_front_health", component="front") == 1)
    assert seen.samples("tastemaker_front_health") == {
        (name,): 1
        for name in (
            "event_log",
            "front",
            "online_store",
            "tastemaker.v1.FeedbackService",
            "tastemaker.v1.RecommendationService",
        )
    }
    assert seen.value("tastemaker_front_health", component="lists/home") == 0
    assert seen.value("tastemaker_front_health", component="model/rnn") == 0


def test_metrics_are_off_where_no_address_is_set(start_front: Callable[..., Any]) -> None:
    assert not [line for line in start_front().log if "metrics" in line]


def _problem(address: str, tmp_path: Path) -> str:
    config = tmp_path / "front.toml"
    config.write_text(
        f'[server]\naddress = "127.0.0.1:0"\ndata_dir = "{tmp_path}/front"\n[metrics]\naddress = "{address}"\n'
    )
    command = [sys.executable, "-m", "tastemaker_server.main", "--config", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_address_that_cannot_be_listened_on_stops_the_start_with_its_name(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = _problem(address, tmp_path)
    assert f"error: metrics.address: cannot listen on {address}: the port is taken" in said
    assert "metrics.address: cannot listen on 127.0.0.1:99999" in _problem("127.0.0.1:99999", tmp_path)
    assert "metrics.address: String should match pattern" in _problem("9464", tmp_path)
