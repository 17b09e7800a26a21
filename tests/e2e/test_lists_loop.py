"""What users did becomes lists that the front serves: each step a command, each reading what the one before wrote."""

import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
from tests.conftest import FrontProcess

from tastemaker.v1 import feedback_service_pb2, feedback_service_pb2_grpc, recommendation_service_pb2_grpc
from tastemaker.v1 import recommendation_service_pb2 as pb

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(400)]
pytest.importorskip("tensorflow")

BIN = Path(sys.executable).parent
USERS, ITEMS, EVENTS_PER_USER = 40, 60, 20
SURFACES = """
[surfaces.home]
tiers = ["PRECOMPUTED", "POPULAR"]
[surfaces.similar]
tiers = ["PRECOMPUTED"]
[surfaces.popular]
tiers = ["POPULAR"]
popular_lists = "popular"
"""


def run(*arguments: object) -> str:
    program, *rest = map(str, arguments)
    ended = subprocess.run([BIN / program, *rest], capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def chosen_items() -> list[set[str]]:
    """What each user consumes."""
    chance = np.random.default_rng(5)
    return [{f"item-{item}" for item in chance.choice(ITEMS, EVENTS_PER_USER, replace=False)} for _ in range(USERS)]


def feed(channel: grpc.Channel) -> None:
    stub = feedback_service_pb2_grpc.FeedbackServiceStub(channel)
    for user, chosen in enumerate(chosen_items()):
        request = feedback_service_pb2.FeedbackRequest()
        for place, item_id in enumerate(sorted(chosen)):
            event = request.events.add(
                event_id=f"{user}-{place}",
                user_id=f"user-{user}",
                item_id=item_id,
                event_type=feedback_service_pb2.EVENT_TYPE_CONSUME,
            )
            event.event_time.FromSeconds(1_700_000_000 + 1000 * place + user)
        stub.Feedback(request, timeout=10)


@pytest.mark.parametrize("front_count", [1, 2])
def test_the_nightly_loop_ends_in_lists_that_are_served(
    start_front, tmp_path: Path, request: pytest.FixtureRequest, front_count: int
) -> None:
    """One front on SQLite; two that share PostgreSQL and Redis: one hears the feedback, the other answers."""
    stores = ""
    if front_count == 2:
        event_log, redis = request.getfixturevalue("postgres_url"), request.getfixturevalue("start_redis")()
        stores = f'[stores]\nevent_log = "{event_log}"\nonline_store = "{redis.url}"\n'
    fronts: list[FrontProcess] = [
        start_front(stores + SURFACES, data_dir=tmp_path / f"data-{number}") for number in range(front_count)
    ]
    config, lists = tmp_path / "front-0.toml", tmp_path / "lists"
    with grpc.insecure_channel(fronts[0].address) as channel:
        feed(channel)
    with grpc.insecure_channel(fronts[-1].address) as channel:
        recommend = recommendation_service_pb2_grpc.RecommendationServiceStub(channel).Recommend
        before = recommend(pb.RecommendRequest(user_id="user-1", surface="home"), timeout=5)
        assert [report.outcome for report in before.tier_reports] == [pb.TIER_OUTCOME_NO_LIST, pb.TIER_OUTCOME_USED]

        for _ in range(2):  # every night anew
            run("tastemaker-server", "export-events", "--config", config, "--out", tmp_path / "events", "--replace")
        learn = ["--ratings", tmp_path / "events", "--models-dir", tmp_path / "trained", "--no-ray"]
        run("tastemaker-jobs", "train", "item_knn", *learn)
        run("tastemaker-jobs", "publish", "--model-dir", tmp_path / "trained" / "item_knn", "--to", tmp_path / "models",
            "--force", "a catalogue of chance")  # fmt: skip
        model, events = ["--model-dir", tmp_path / "models" / "item_knn"], ["--events", tmp_path / "events"]
        for name, kind in {
            "home": [*model, *events, "--k", 20],
            "similar": ["--kind", "similar", *model, "--k", 5],
            "popular": ["--kind", "popular", *events],
        }.items():
            run("tastemaker-jobs", "precompute", "--surface", name, "--lists-dir", lists, "--no-ray", *kind)
            said = run("tastemaker-server", "publish-lists", "--config", config, "--lists", lists / name)
            assert "generation 1 " in said

        consumed = chosen_items()[1]
        page = recommend(pb.RecommendRequest(user_id="user-1", surface="home"), timeout=5)
        assert page.tier == pb.TIER_PRECOMPUTED
        assert len(page.items) == 10
        assert not {item.item_id for item in page.items} & consumed
        assert page.tier_reports[0].list_generation == 1
        assert page.tier_reports[0].list_age.ToSeconds() < 400

        alike = recommend(pb.RecommendRequest(user_id="somebody", surface="similar", item_id="item-3"), timeout=5)
        assert [item.reason for item in alike.items] == [pb.ITEM_REASON_SIMILAR_TO_ITEM] * 5
        assert "item-3" not in {item.item_id for item in alike.items}
        popular = recommend(pb.RecommendRequest(user_id="somebody", surface="popular"), timeout=5)
        assert popular.tier_reports[0].list_generation == 1
        assert len(popular.items) == 10
