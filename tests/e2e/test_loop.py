"""The whole loop, with every part real: ratings, Ray, SavedModels, model server, front, client."""

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from demo.processes import Services

from tastemaker_client import Client, EventType, Page, Tier, TierOutcome

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

_BIN = Path(sys.executable).parent
_ROOT = Path(__file__).resolve().parents[2]


def _live_again(client: Client, user_id: str) -> Page:
    """The first page from the live model; the front reconnects by itself within two seconds."""
    deadline = time.monotonic() + 30
    while True:
        page = client.recommend(user_id, "home", timeout_seconds=2)
        if page.tier is Tier.LIVE_MODEL or time.monotonic() > deadline:
            return page
        time.sleep(0.1)


def test_training_prints_both_models_beside_popularity(trained: Any) -> None:
    for name in ("popularity", "rnn", "autoencoder"):
        assert re.search(rf"{name}\W+0\.\d+", trained.output)
    assert "HR@10" in trained.output
    assert "NDCG@10" in trained.output


def test_published_versions_are_complete_and_alone(trained: Any) -> None:
    for name in ("rnn", "autoencoder"):
        (version,) = (path for path in (trained.models_dir / name).iterdir() if path.is_dir())
        assert version.name == "1"
        assert (version / "saved_model.pb").is_file()
        manifest = json.loads((version / "manifest.json").read_text("utf-8"))
        assert manifest["name"] == name
        assert {baseline["name"] for baseline in manifest["baselines"]} >= {"popularity"}


@pytest.mark.parametrize(("surface", "user_id"), [("home", "42"), ("discover", "7")])
def test_known_user_is_answered_by_the_live_model(services: Services, surface: str, user_id: str) -> None:
    with Client(services.address) as client:
        page = client.recommend(user_id, surface, max_results=10, timeout_seconds=2)
    assert page.tier is Tier.LIVE_MODEL
    assert len(page.items) == len(set(page.item_ids)) == 10
    scores = [item.score for item in page.items]
    assert scores == sorted(scores, reverse=True)


def test_nothing_that_the_user_rated_comes_back(services: Services, trained: Any) -> None:
    lines = trained.ratings_csv.read_text("utf-8").splitlines()[1:]
    rated = {item for user, item, *_ in (line.split(",") for line in lines) if user == "13"}
    with Client(services.address) as client:
        page = client.recommend("13", "home", max_results=100, timeout_seconds=2)
    assert len(page.items) == 100
    assert not rated.intersection(page.item_ids)


def test_feedback_removes_what_was_watched_and_moves_the_list(services: Services) -> None:
    with Client(services.address) as client:
        before = client.recommend("42", "home", max_results=10, timeout_seconds=2)
        watched = before.item_ids[:3]
        receipt = client.feedback([before.event(item_id, EventType.CONSUME) for item_id in watched])
        after = client.recommend("42", "home", max_results=10, timeout_seconds=2)
    assert receipt.accepted_count == 3
    assert not set(watched).intersection(after.item_ids)
    assert [item.score for item in after.items[:7]] != [item.score for item in before.items[3:]]


def test_unknown_user_is_answered_from_popular(services: Services) -> None:
    with Client(services.address) as client:
        page = client.recommend("somebody-new", "home", timeout_seconds=2)
    assert page.tier is Tier.POPULAR
    assert page.tier_reports[0].outcome is TierOutcome.NO_HISTORY


def test_command_shows_a_page_and_the_readmes_call_runs(services: Services, trained: Any) -> None:
    shown = subprocess.run(
        [
            *(_BIN / "tastemaker", "recommend", "--user", "42", "--surface", "home", "--address", services.address),
            *("--items", trained.ratings_csv.parent / "items.csv", "--timeout-seconds", "2"),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert "LIVE_MODEL" in shown.stdout
    (example,) = re.findall(r"```python\n(.*?)```", (_ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    example = example.replace("127.0.0.1:50051", services.address).replace("timeout_seconds=0.2", "timeout_seconds=2")
    ran = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=True, timeout=30)
    assert ran.stdout.startswith("LIVE_MODEL\n")


def test_swap_of_models_fails_no_call_and_leaves_the_live_tier_never(services: Services, trained: Any) -> None:
    pages: list[Page] = []
    stop = threading.Event()

    def ask() -> None:
        with Client(services.address) as client:
            while not stop.is_set():
                pages.append(client.recommend("7", "home", max_results=5, timeout_seconds=2))

    caller = threading.Thread(target=ask)
    caller.start()
    model = trained.models_dir / "rnn"
    shutil.copytree(model / "1", model / ".arriving")
    (model / ".arriving").rename(model / "2")
    log = services.folder / "tastemaker-modelserver.log"
    deadline = time.monotonic() + 60
    while "{name: rnn version: 2}" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.2)
    asked = len(pages)
    while len(pages) < asked + 50 and caller.is_alive():
        time.sleep(0.05)
    stop.set()
    caller.join(30)
    assert "{name: rnn version: 2}" in log.read_text()
    assert len(pages) >= asked + 50
    assert {page.tier for page in pages} == {Tier.LIVE_MODEL}


def test_killed_model_server_costs_the_tier_and_not_the_page(services: Services) -> None:
    with Client(services.address) as client:
        assert _live_again(client, "42").tier is Tier.LIVE_MODEL
        services.kill_modelserver()
        started = time.monotonic()
        page = client.recommend("42", "home", max_results=10, timeout_seconds=0.5)
        assert time.monotonic() - started < 0.5
        assert len(page.items) == 10
        assert page.tier is Tier.POPULAR
        assert page.tier_reports[0].outcome in (TierOutcome.UNAVAILABLE, TierOutcome.TIMED_OUT)
        services.restart_modelserver()
        assert _live_again(client, "42").tier is Tier.LIVE_MODEL


def test_killed_front_comes_back_with_every_acknowledged_event(services: Services) -> None:
    with Client(services.address) as client:
        page = client.recommend("99", "home", timeout_seconds=2)
        client.feedback([page.event(page.item_ids[0], EventType.CONSUME)])
    services.kill_front()
    services.start_front()
    services.wait_until_serving()
    with Client(services.address) as client:
        assert page.item_ids[0] not in _live_again(client, "99").item_ids


def test_processes_end_cleanly(services: Services) -> None:
    assert services.stop() == {"tastemaker-modelserver": 0, "tastemaker-server": 0}
