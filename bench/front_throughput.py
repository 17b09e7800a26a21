"""How many `Recommend` calls a second one front process answers from POPULAR and PRECOMPUTED, beside a bare echo."""

import asyncio
import statistics
import tempfile
from pathlib import Path

import grpc

from bench.load import requests_per_second
from bench.processes import echo_server, front, redis_server
from bench.report import Result
from tastemaker.artefacts.v1.lists_pb2 import LIST_KEY_USER, ListGeneration
from tastemaker.artefacts.v1.state_pb2 import RankedList
from tastemaker.v1 import feedback_service_pb2, feedback_service_pb2_grpc
from tastemaker.v1 import recommendation_service_pb2 as pb
from tastemaker.v1 import recommendation_service_pb2_grpc as pb_grpc
from tastemaker_server.online_store.factory import open_online_store
from tastemaker_server.settings_loader import load_settings

__all__ = ["measure"]

_METHOD = "/tastemaker.v1.RecommendationService/Recommend"
_ROUNDS = 7
_CALLS = 6000
_ITEMS = 2000
_HISTORY = 100
_LIST_LENGTH = 200
_TARGET = 0.6
_REDIS_TARGET = 0.45
_SETTINGS = """
[surfaces.home]
tiers = ["PRECOMPUTED", "POPULAR"]
[surfaces.popular]
tiers = ["POPULAR"]
"""


def measure() -> list[Result]:
    """A user with 100 consumed items asks for 10; in each round echo and tiers follow each other closely."""
    with tempfile.TemporaryDirectory() as name:
        on_sqlite = _measure(Path(name), "SQLite", "", _TARGET)
    with tempfile.TemporaryDirectory() as name, redis_server(Path(name)) as url:
        on_redis = _measure(Path(name), "Redis", f'[stores]\nonline_store = "{url}"\n', _REDIS_TARGET)
    return on_sqlite + on_redis


def _measure(folder: Path, store: str, stores_toml: str, target: float) -> list[Result]:
    data_dir = folder / "front"
    data_dir.mkdir()
    toml = stores_toml + _SETTINGS
    asyncio.run(_publish_list(folder, data_dir, toml))
    with front(folder, toml, data_dir=data_dir) as address:
        with grpc.insecure_channel(address) as channel:
            _feed(channel)
            popular = pb.RecommendRequest(user_id="reader", surface="popular")
            precomputed = pb.RecommendRequest(user_id="reader", surface="home")
            response = _checked(channel, popular, pb.TIER_POPULAR)
            _checked(channel, precomputed, pb.TIER_PRECOMPUTED)
        with echo_server(folder, _METHOD, response.SerializeToString()) as echo:
            rates: dict[str, list[float]] = {"echo": [], "POPULAR": [], "PRECOMPUTED": []}
            for round_number in range(_ROUNDS + 1):
                found = {
                    "echo": requests_per_second(echo, _METHOD, popular, _CALLS),
                    "POPULAR": requests_per_second(address, _METHOD, popular, _CALLS),
                    "PRECOMPUTED": requests_per_second(address, _METHOD, precomputed, _CALLS),
                }
                if round_number:  # the first one warms up
                    for kind, rate in found.items():
                        rates[kind].append(rate)
    return [_result(kind, store, rates, target) for kind in ("POPULAR", "PRECOMPUTED")]


def _result(kind: str, store: str, rates: dict[str, list[float]], target: float) -> Result:
    ratio = statistics.median(ours / echo for ours, echo in zip(rates[kind], rates["echo"], strict=True))
    return Result(
        what=f"Recommend from {kind} on {store}, 10 items, one process",
        measured=f"{statistics.median(rates[kind]):,.0f} calls/s",
        reference=f"bare grpc.aio echo of the same response: {statistics.median(rates['echo']):,.0f} calls/s",
        ratio=f"{ratio:.2f}",
        target=f"≥ {target}",
        is_met=ratio >= target,
    )


def _checked(channel: grpc.Channel, request: pb.RecommendRequest, tier: "pb.Tier") -> pb.RecommendResponse:
    response: pb.RecommendResponse = pb_grpc.RecommendationServiceStub(channel).Recommend(request, timeout=5)
    if response.tier != tier or len(response.items) != 10:
        raise RuntimeError(f"expected a full page from {pb.Tier.Name(tier)}, got {response}")
    return response


def _feed(channel: grpc.Channel) -> None:
    """A crowd makes every item popular; the reader consumed the 100 most popular ones."""
    consume = feedback_service_pb2.EVENT_TYPE_CONSUME
    events = [(f"crowd-{item % 7}", f"item-{item}") for item in range(_ITEMS)]
    events += [("second", f"item-{item}") for item in range(_HISTORY + 50)]
    events += [("reader", f"item-{item}") for item in range(_HISTORY)]
    stub = feedback_service_pb2_grpc.FeedbackServiceStub(channel)
    for start in range(0, len(events), 500):
        request = feedback_service_pb2.FeedbackRequest()
        for number, (user_id, item_id) in enumerate(events[start : start + 500], start):
            request.events.add(event_id=str(number), user_id=user_id, item_id=item_id, event_type=consume)
        stub.Feedback(request, timeout=30)


async def _publish_list(folder: Path, data_dir: Path, toml: str) -> None:
    config = folder / "publish.toml"
    config.write_text(f'[server]\ndata_dir = "{data_dir}"\n{toml}')
    store = open_online_store(load_settings(config, {}))
    scores = [float(_LIST_LENGTH - place) for place in range(_LIST_LENGTH)]
    ranked = RankedList(item_ids=[f"item-{place * 3}" for place in range(_LIST_LENGTH)], scores=scores)
    await store.put_lists("home", 1, [("reader", ranked.SerializeToString())])
    await store.activate_lists("home", ListGeneration(generation=1, key=LIST_KEY_USER))
    await store.close()
