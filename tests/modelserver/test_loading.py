"""Versions that come, fail, are repaired and go while another one serves."""

import shutil
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(models: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("models")
    models.affine(base / "m" / "1")
    models.affine(base / "steady" / "1")
    return base


@pytest.fixture(scope="module")
def server(start_server: Any, base: Path, write_config: Any) -> Any:
    config = write_config(base / "models.config", {"m": base / "m", "steady": base / "steady"})
    return start_server(
        f"--model_config_file={config}", "--max_num_load_retries=1", "--load_retry_interval_micros=100000"
    )


@pytest.fixture
def serves(server: Any, ask: Any) -> Any:
    def version(model: str = "m") -> int:
        response = server.prediction.Predict(ask.predict(model, x=[[2.0]]), timeout=10)
        return int(response.model_spec.version.value)

    return version


def publish(built: Path, target: Path) -> None:
    staging = target.parent.parent / f"staging-{target.name}"
    shutil.copytree(built, staging)
    staging.rename(target)


def warmup(folder: Path, tf: Any, *records: bytes) -> None:
    extra = folder / "assets.extra"
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        for record in records:
            writer.write(record)


def test_a_corrupt_version_leaves_the_old_one_serving(server: Any, base: Path, serves: Any, until: Any) -> None:
    broken = base / "m" / "2"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"\x00garbage")
    until(lambda: server.states("m").get(2, "").startswith("END "))
    assert server.states("m")[1] == "AVAILABLE"
    assert serves() == 1


def test_a_half_copied_version_loads_once_it_is_complete(
    server: Any, base: Path, models: Any, serves: Any, until: Any, tmp_path: Path
) -> None:
    whole = models.affine(tmp_path / "built")
    half = base / "m" / "3"
    half.mkdir()
    shutil.copy(whole / "saved_model.pb", half)
    until(lambda: server.states("m").get(3, "").startswith("END "))
    assert serves() == 1
    shutil.copytree(whole / "variables", half / "variables")
    until(lambda: server.states("m").get(3) == "AVAILABLE")
    until(lambda: server.states("m")[1] == "END")
    assert serves() == 3


def test_a_bad_warmup_record_fails_that_version_alone(
    server: Any, base: Path, models: Any, serves: Any, until: Any, tf: Any, ask: Any, tmp_path: Path
) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(ask.predict("m", wrong=[[1.0]]))
    built = models.affine(tmp_path / "built")
    warmup(built, tf, log.SerializeToString())
    publish(built, base / "m" / "4")
    until(lambda: server.states("m").get(4, "").startswith("END "))
    assert "Warm-up record 1 of" in server.states("m")[4]
    assert "Missing but required: {x}" in server.states("m")[4]
    assert serves() == 3


def test_warmup_runs_all_kinds_of_request(
    server: Any, base: Path, models: Any, serves: Any, until: Any, tf: Any, ask: Any, tmp_path: Path
) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    logs = [prediction_log_pb2.PredictionLog() for _ in range(4)]
    logs[0].predict_log.request.CopyFrom(ask.predict("m", x=[[1.0]]))
    for log, kind in ((logs[1], "classify"), (logs[2], "regress")):
        request = getattr(log, f"{kind}_log").request
        request.model_spec.signature_name = kind
        request.input.example_list.examples.add().features.feature["x"].float_list.value.append(1.0)
    multi = logs[3].multi_inference_log.request
    multi.tasks.add(method_name="tensorflow/serving/regress").model_spec.name = "m"
    multi.tasks[0].model_spec.signature_name = "regress"
    multi.input.example_list.examples.add().features.feature["x"].float_list.value.append(1.0)
    built = models.affine(tmp_path / "built")
    warmup(built, tf, *(log.SerializeToString() for log in logs))
    publish(built, base / "m" / "5")
    until(lambda: server.states("m").get(5) == "AVAILABLE")
    assert "Replayed 4 warmup records" in server.output()
    assert serves() == 5


def test_a_deleted_version_keeps_serving_until_another_takes_over(
    server: Any, base: Path, models: Any, serves: Any, until: Any, tmp_path: Path
) -> None:
    shutil.move(base / "m", tmp_path / "gone")
    until(lambda: f"Could not find base path {base / 'm'}" in server.output())
    assert serves() == 5
    models.affine(tmp_path / "built")
    (base / "m").mkdir()
    publish(tmp_path / "built", base / "m" / "6")
    until(lambda: server.states("m").get(6) == "AVAILABLE")
    assert serves() == 6


def test_one_missing_model_does_not_stop_the_polling_of_another(
    server: Any, base: Path, models: Any, serves: Any, until: Any, tmp_path: Path
) -> None:
    shutil.move(base / "m", tmp_path / "m")
    publish(models.affine(tmp_path / "built"), base / "steady" / "2")
    until(lambda: server.states("steady").get(2) == "AVAILABLE")
    assert serves("steady") == 2
    shutil.move(tmp_path / "m", base / "m")


def test_an_older_version_returns_when_the_newer_one_is_deleted(
    server: Any, base: Path, models: Any, serves: Any, until: Any, tmp_path: Path
) -> None:
    until(lambda: server.states("steady").get(1) == "END")
    shutil.rmtree(base / "steady" / "2")
    until(lambda: server.states("steady") == {2: "END", 1: "AVAILABLE"})
    assert serves("steady") == 1


def test_calls_never_fail_while_versions_change(
    server: Any, base: Path, models: Any, serves: Any, until: Any, tmp_path: Path
) -> None:
    built = models.affine(tmp_path / "built")
    seen: list[int] = []

    def current() -> int:
        seen.append(serves("steady"))  # a failed call raises
        return seen[-1]

    for version in (10, 11, 12):
        publish(built, base / "steady" / str(version))
        until(lambda version=version: current() == version)
    assert seen == sorted(seen)


@pytest.mark.parametrize("seconds", [0, -1])
def test_without_polling_a_new_version_stays_unseen(
    start_server: Any, models: Any, until: Any, tmp_path: Path, seconds: int
) -> None:
    models.affine(tmp_path / "m" / "1")
    server = start_server(
        "--model_name=m",
        f"--model_base_path={tmp_path / 'm'}",
        f"--file_system_poll_wait_seconds={seconds}",
        wait=False,
    )
    if seconds < 0:
        with pytest.raises(AssertionError):
            server.wait_ready(timeout_s=15)  # it never looks, so no port opens
        return
    server.wait_ready()
    publish(tmp_path / "m" / "1", tmp_path / "m" / "2")
    with pytest.raises(AssertionError):
        until(lambda: 2 in server.states("m"), timeout_s=2)


def test_kill_while_loading_harms_nothing(start_server: Any, models: Any, ask: Any, until: Any, tmp_path: Path) -> None:
    models.affine(tmp_path / "m" / "1")
    flags = ("--model_name=m", f"--model_base_path={tmp_path / 'm'}")
    first = start_server(*flags, wait=False)
    until(lambda: "Loading servable version" in first.output())
    first.process.kill()
    first.process.wait()
    again = start_server(*flags)
    assert again.prediction.Predict(ask.predict("m", x=[[2.0]]), timeout=10).model_spec.version.value == 1
