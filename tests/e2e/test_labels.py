"""A surface that asks by label gets another version as soon as `promote` or `rollback` moves the label."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from tests.conftest import FrontProcess

from tastemaker.tfserving.v1 import predict_pb2
from tastemaker_client import Client, Event, EventType, HealthStatus, Page, Tier, TierOutcome
from tastemaker_server.model_client import ServedModel, recommend_request

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]
pytest.importorskip("tensorflow")

_BIN = Path(sys.executable).parent
_HISTORY = ["film-1"]
_PAGE = 5


def _jobs(*arguments: object) -> None:
    command = [_BIN / "tastemaker-jobs", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Two versions of `item_knn` that rank differently."""
    from tastemaker_jobs.testing.synthetic import synthetic_ratings, write_ratings

    for seed in (1, 2):
        ratings = write_ratings(synthetic_ratings(seed=seed), tmp_path / f"ratings-{seed}.csv")
        _jobs("train", "item_knn", "--no-ray", "--ratings", ratings, "--models-dir", tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def model_server(models: Path, tmp_path: Path, free_port: int) -> Iterator[tuple[str, Path]]:
    """Both versions, and no label; yields the address and the config file."""
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "item_knn" base_path: "{models}/item_knn"'
        ' model_platform: "tensorflow" } }\n'
    )
    command = [_BIN / "tastemaker-modelserver", f"--port={free_port}", f"--model_config_file={config}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{free_port}", config
    finally:
        process.terminate()
        process.wait(30)


def _ranking(address: str, version: int) -> list[str]:
    """What a version by its number gives for the history that the test sends."""
    request = recommend_request(ServedModel("item_knn"), history=_HISTORY, history_length=50, exclude=_HISTORY, k=_PAGE)
    request.model_spec.version.value = version
    with grpc.insecure_channel(address) as channel:
        predict = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=predict_pb2.PredictRequest.SerializeToString,
            response_deserializer=predict_pb2.PredictResponse.FromString,
        )
        answer = predict(request, timeout=30)
    return [item.decode() for item in answer.outputs["item_id"].string_val]


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


def test_promote_and_rollback_change_what_callers_get_with_no_restart(
    model_server: tuple[str, Path], models: Path, start_front: Callable[..., FrontProcess]
) -> None:
    address, config = model_server
    front = start_front(
        f'[model_server]\naddress = "{address}"\n[surfaces.home]\nmodel = "item_knn"\nversion_label = "stable"\n'
        "live_model_timeout_milliseconds = 5000\n"
    )
    where = ["--server", address, "--config-file", config]
    with Client(front.address) as client:
        client.feedback([Event("u", item, EventType.CONSUME) for item in _HISTORY])
        client.feedback([Event("another", "film-2", EventType.CONSUME)])

        def page() -> Page:
            return client.recommend("u", "home", max_results=_PAGE, timeout_seconds=10)

        def health() -> HealthStatus:
            return client.health("model/item_knn/stable")

        # No such label yet: the next tier answers, and health and log say why.
        unknown = "item_knn/stable: INVALID_ARGUMENT: Unrecognized servable version label: stable"
        _until(lambda: any(f"other tiers answer: {unknown}" in line for line in front.log), unknown)
        assert page().tier is Tier.POPULAR
        assert page().tier_reports[0].outcome is TierOutcome.UNAVAILABLE
        assert any(f"LIVE_MODEL gave no answer: {unknown}" in line for line in front.log)
        assert health() is HealthStatus.NOT_SERVING

        _jobs("promote", "item_knn", 1, *where)
        _until(lambda: page().tier is Tier.LIVE_MODEL, "an answer of the promoted version")
        first = list(page().item_ids)
        assert first == _ranking(address, 1)
        _until(lambda: health() is HealthStatus.SERVING, "health of the promoted version")

        _jobs("promote", "item_knn", 2, *where)
        second = list(page().item_ids)
        assert second == _ranking(address, 2)
        assert second != first
        _jobs("rollback", "item_knn", *where)
        assert list(page().item_ids) == first

        # The label names a version that is gone.
        shutil.rmtree(models / "item_knn" / "1")
        _until(lambda: page().tier is Tier.POPULAR, "another tier where the label's version is gone")
        assert len(page().items) == 1
