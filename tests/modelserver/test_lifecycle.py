"""A new version replaces the old one without a gap; the process ends cleanly."""

import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def until(condition: Any, *, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"


def test_a_new_version_takes_over_without_a_failed_call(
    start_server: Any, models: Any, tf: Any, tmp_path: Path
) -> None:
    from tensorflow_serving.apis import get_model_status_pb2, predict_pb2

    models.affine(tmp_path / "m" / "1")
    server = start_server("--model_name=m", f"--model_base_path={tmp_path / 'm'}")
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([[2.0]]))

    def version() -> int:
        return int(server.prediction.Predict(request, timeout=10).model_spec.version.value)

    assert version() == 1
    models.affine(tmp_path / "staging", slope=1.0)
    (tmp_path / "staging").rename(tmp_path / "m" / "2")
    until(lambda: version() == 2)
    assert list(server.prediction.Predict(request, timeout=10).outputs["y"].float_val) == [4.0]

    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "m"

    def states() -> dict[int, int]:
        found = server.model.GetModelStatus(status, timeout=10).model_version_status
        return {entry.version: entry.state for entry in found}

    until(lambda: states() == {2: 30, 1: 50})
    assert server.stop() == 0
