"""`--enable_batching` with a parameters file, and the adaptive batcher that runs without."""

import concurrent.futures
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from tastemaker_modelserver.batching_parameters import BatchingParameters, read_batching_parameters
from tastemaker_modelserver.errors import InvalidArgumentError

pytestmark = pytest.mark.slow

TIMEOUT_S = 2.0
PARAMETERS = f"""
max_batch_size {{ value: 4 }}
batch_timeout_micros {{ value: {TIMEOUT_S * 1e6:.0f} }}
max_enqueued_batches {{ value: 2 }}
num_batch_threads {{ value: 1 }}
allowed_batch_sizes: 2
allowed_batch_sizes: 4
pad_variable_length_inputs: true
"""


def write_reporter(tf: Any, folder: Path) -> None:
    """A model that tells each row which batch it ran in: x [B, L] → total, batch and width, [B] each."""

    class Reporter(tf.Module):  # type: ignore[name-defined,misc]
        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")])
        def report(self, x: Any) -> dict[str, Any]:
            total = tf.reduce_sum(x, 1)  # [B]
            shape = tf.shape(x)
            return {"total": total, "batch": tf.fill(shape[:1], shape[0]), "width": tf.fill(shape[:1], shape[1])}

    module = Reporter()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.report})


@pytest.fixture(scope="module")
def server(start_server: Any, write_config: Any, models: Any, tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    base = tmp_path_factory.mktemp("batching")
    write_reporter(tf, base / "reporter" / "1")
    models.spinner(base / "spinner" / "1")
    config = write_config(base / "models.config", {name: base / name for name in ("reporter", "spinner")})
    parameters = base / "batching.config"
    parameters.write_text(PARAMETERS)
    return start_server(
        f"--model_config_file={config}", "--enable_batching", f"--batching_parameters_file={parameters}"
    )


Report = dict[str, list[float]]


@pytest.fixture
def report(server: Any, ask: Any) -> Callable[..., list[Report]]:
    """Sends one call per matrix, all at once, and returns what each was told."""

    def call(*matrices: list[list[float]]) -> list[Report]:
        calls = [server.prediction.Predict.future(ask.predict("reporter", x=x), timeout=30) for x in matrices]
        outputs = [call.result().outputs for call in calls]
        return [
            {
                "total": list(found["total"].float_val),
                "batch": list(found["batch"].int_val),
                "width": list(found["width"].int_val),
            }
            for found in outputs
        ]

    return call


def test_a_full_batch_runs_without_waiting(report: Any) -> None:
    started = time.monotonic()
    answers = report(*([[float(number)]] for number in range(4)))
    assert time.monotonic() - started < TIMEOUT_S
    assert answers == [{"total": [float(number)], "batch": [4], "width": [1]} for number in range(4)]


def test_a_lone_call_waits_for_the_timeout_and_is_filled_up_to_an_allowed_size(report: Any) -> None:
    started = time.monotonic()
    assert report([[7.0]]) == [{"total": [7.0], "batch": [2], "width": [1]}]
    assert time.monotonic() - started >= TIMEOUT_S


def test_rows_of_different_calls_are_filled_up_together(report: Any) -> None:
    assert report([[1.0], [2.0]], [[3.0]]) == [
        {"total": [1.0, 2.0], "batch": [4, 4], "width": [1, 1]},
        {"total": [3.0], "batch": [4], "width": [1]},
    ]


def test_shorter_inputs_are_padded_with_their_first_value(report: Any) -> None:
    assert report([[5.0]], [[1.0, 2.0]], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]) == [
        {"total": [15.0], "batch": [4], "width": [3]},
        {"total": [4.0], "batch": [4], "width": [3]},
        {"total": [6.0, 15.0], "batch": [4, 4], "width": [3, 3]},
    ]


def test_a_call_larger_than_the_largest_batch_is_invalid(server: Any, ask: Any) -> None:
    request = ask.predict("reporter", x=[[1.0]] * 5)
    assert ask.failure(lambda: server.prediction.Predict(request, timeout=10)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Task size 5 is larger than maximum input batch size 4",
    )


def test_a_full_queue_is_unavailable_until_it_drains(server: Any, ask: Any, tf: Any, report: Any) -> None:
    def arrived() -> None:  # calls of one connection are taken in their order
        assert server.states("reporter") == {1: "AVAILABLE"}

    forever = ask.predict("spinner", x=[1.0] * 4, n=tf.make_tensor_proto(1e12, dtype=tf.float32))
    held = server.prediction.Predict.future(forever, timeout=4)  # takes the only thread
    arrived()
    full = ask.predict("reporter", x=[[1.0]] * 4)
    queued = [server.prediction.Predict.future(full, timeout=30) for _ in range(2)]
    arrived()
    code, message = ask.failure(lambda: server.prediction.Predict(ask.predict("reporter", x=[[1.0]]), timeout=30))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert message == (
        "The batch scheduling queue to which this task was submitted is full; currently 2 batches enqueued and "
        "max_enqueued_batches is 2"
    )
    assert ask.failure(held.result)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert [list(call.result().outputs["batch"].int_val) for call in queued] == [[4] * 4] * 2
    assert report([[1.0]] * 4)[0]["total"] == [1.0] * 4


def test_a_deadline_that_ends_in_the_queue_fails_that_call_alone(server: Any, ask: Any) -> None:
    patient = server.prediction.Predict.future(ask.predict("reporter", x=[[1.0]]), timeout=30)
    hasty = server.prediction.Predict.future(ask.predict("reporter", x=[[2.0]]), timeout=TIMEOUT_S / 4)
    assert ask.failure(hasty.result)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert list(patient.result().outputs["total"].float_val) == [1.0]


def test_the_adaptive_batcher_never_changes_an_answer(standard: Any, ask: Any) -> None:
    rng = random.Random(7)  # noqa: S311  # no secret
    requests = []
    for number in range(150):
        if number % 3:
            history = rng.choices([f"i{item}" for item in range(25)], k=rng.randint(1, 6))
            requests.append(ask.recommend(history, [f"i{rng.randrange(20)}"], rng.randint(1, 9)))
        else:
            requests.append(ask.predict("affine", x=[[rng.random()] for _ in range(rng.randint(1, 5))]))

    def answer(request: Any) -> bytes:
        response = standard.prediction.Predict(request, timeout=30)
        return bytes(response.SerializeToString(deterministic=True))

    alone = [answer(request) for request in requests]
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        assert list(pool.map(answer, requests)) == alone


def test_the_adaptive_batcher_leaves_a_group_to_be_answered_while_another_runs(
    standard: Any, ask: Any, tf: Any
) -> None:
    def runs() -> int:
        page = standard.rest("/monitoring/prometheus/metrics")[1]
        found = re.search(
            r'^:tastemaker:modelserver:batch_rows_count\{model_name="spinner".*\} (\d+)$', page, re.MULTILINE
        )
        return int(found[1]) if found else 0

    request = ask.predict("spinner", x=[1.0], n=tf.make_tensor_proto(1e5, dtype=tf.float32))  # half a second
    before = runs()
    calls = [standard.prediction.Predict.future(request, timeout=30) for _ in range(64)]
    assert [list(call.result().outputs["y"].float_val) for call in calls] == [[1.0]] * 64
    assert runs() - before >= 3  # the first to arrive, then two halves or less of the rest


def test_the_defaults_are_tensorflow_servings(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    parameters = read_batching_parameters(tmp_path / "empty")
    assert parameters == BatchingParameters()
    assert (parameters.max_batch_rows, parameters.timeout_s, parameters.max_queued_batches) == (1000, 0.0, 10)


def test_every_impossible_parameter_is_listed(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text(
        "max_batch_size { value: 0 } num_batch_threads { value: -1 } batch_timeout_micros { value: -5 } "
        "allowed_batch_sizes: 8 allowed_batch_sizes: 4"
    )
    with pytest.raises(InvalidArgumentError) as caught:
        read_batching_parameters(tmp_path / "bad")
    for problem in (
        "max_batch_size must be positive; was 0",
        "num_batch_threads must be positive; was -1",
        "batch_timeout_micros must be non-negative; was -5",
        "allowed_batch_sizes must be in increasing order; was [8, 4]",
        "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 0",
    ):
        assert problem in caught.value.message


def test_impossible_parameters_stop_the_start(start_server: Any, tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("max_batch_size { value: 0 }")
    server = start_server(
        f"--model_base_path={tmp_path}",
        "--enable_batching",
        f"--batching_parameters_file={tmp_path / 'bad'}",
        wait=False,
    )
    assert server.process.wait(60) != 0
    assert "max_batch_size must be positive; was 0" in server.output()
    assert "Traceback" not in server.output()
