"""What a model server writes to stderr, and one request followed from the client through the front to the model."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from tastemaker_client import Client, Event, EventType, InvalidRequestError, Tier, TierOutcome

pytestmark = pytest.mark.slow

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_JSON = {"TASTEMAKER_LOG_FORMAT": "json"}


_OF_C_PLUS_PLUS = re.compile(r"[IWEF]\d{4} \d\d:|\d{4}-\d\d-\d\d \S+ [IWEF] |WARNING: All log messages before absl::")


def _lines(output: str) -> list[dict[str, Any]]:
    """A dict for each line but those of TensorFlow's C++; fails where one is no JSON object."""
    found = [json.loads(line) for line in output.splitlines() if not _OF_C_PLUS_PLUS.match(line)]
    assert all(isinstance(line, dict) for line in found)
    return found


def _start(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tastemaker_modelserver", *flags],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "", **environment},
    )


@pytest.fixture
def ranker(models: Any, start_server: Callable[..., Any], write_config: Callable[..., Path], tmp_path: Path) -> Any:
    """A server of `ranker` and `spinner` that writes JSON, at DEBUG, and takes 100 ms for slow."""
    models.ranker(tmp_path / "ranker" / "1")
    models.spinner(tmp_path / "spinner" / "1")
    config = write_config(tmp_path / "models.config", {name: tmp_path / name for name in ("ranker", "spinner")})
    environment = _JSON | {"TASTEMAKER_LOG_LEVEL": "DEBUG", "TASTEMAKER_LOG_SLOW_CALL_MILLISECONDS": "100"}
    return start_server(f"--model_config_file={config}", rest=True, environment=environment)


def test_one_request_is_found_in_the_answer_the_fronts_log_and_the_model_servers(
    ranker: Any, start_front: Callable[..., Any]
) -> None:
    front = start_front(
        f'[logging]\nformat = "json"\nlevel = "DEBUG"\n[model_server]\naddress = "127.0.0.1:{ranker.port}"\n'
        '[surfaces.home]\nmodel = "ranker"\nlive_model_timeout_milliseconds = 5000\n[surfaces.gone]\nmodel = "gone"\n'
    )
    with Client(front.address) as client:
        client.feedback([Event("u1", "i3", EventType.VIEW)], request_id="told-1", timeout_seconds=20)
        answered = client.recommend("u1", "home", timeout_seconds=20)
        failed = client.recommend("u1", "gone", request_id="gone-1", timeout_seconds=20)
        with pytest.raises(InvalidRequestError) as refused:
            client.recommend("", "home", timeout_seconds=20)
    assert front.terminate() == 0
    assert ranker.stop() == 0
    front.reader.join(10)
    of_front, of_model = _lines("".join(front.log)), _lines(ranker.output())

    def found(lines: list[dict[str, Any]], request_id: str) -> list[tuple[Any, Any, Any]]:
        return [
            (line["logger"].partition(".")[2], line.get("method"), line.get("code"))
            for line in lines
            if line.get("request_id") == request_id and line["logger"].startswith("tastemaker")
        ]

    recommend = "/tastemaker.v1.RecommendationService/Recommend"
    assert answered.tier is Tier.LIVE_MODEL
    assert found(of_front, answered.request_id) == [("call_log", recommend, "OK")]
    assert found(of_model, answered.request_id) == [("call_log", _PREDICT, "OK")]
    assert failed.tier_reports[0].outcome is TierOutcome.UNAVAILABLE
    assert found(of_front, "gone-1") == [("tiers.live_model", None, None), ("call_log", recommend, "OK")]
    assert found(of_model, "gone-1") == [("call_log", _PREDICT, "NOT_FOUND")]
    assert found(of_front, refused.value.request_id) == [("call_log", recommend, "INVALID_ARGUMENT")]
    assert not found(of_model, refused.value.request_id)
    assert {"ranker", "gone"} == {line["model"] for line in of_model if "model" in line}


def test_line_of_a_call_never_quotes_what_was_sent(ranker: Any, ask: Any) -> None:
    ranker.prediction.Predict(
        ask.recommend(["secret-item"], ["secret-item"], 2), timeout=20, metadata=(("x-request-id", "grpc-1"),)
    )
    with pytest.raises(grpc.RpcError):
        ranker.prediction.Predict(ask.predict("ranker", signature="recommend", history=["secret-item"]), timeout=20)
    bad_id = {"X-Request-Id": "two words"}
    slow = ask.predict("spinner", x=[1.0], n=ask.tf.make_tensor_proto(1e5, dtype=ask.tf.float32))  # half a second
    ranker.prediction.Predict(slow, timeout=30, metadata=(("x-request-id", "slow-1"),))
    status, _ = ranker.rest("/v1/models/ranker:predict", {"instances": [{"history": "secret-item"}]}, **bad_id)
    assert status == 400
    assert ranker.rest("/v1/models/gone:predict", {"instances": [1]}, **{"X-Request-Id": "rest-1"})[0] == 404
    assert ranker.stop() == 0
    finished = [line for line in _lines(ranker.output()) if "method" in line]
    by_call = {(line["method"], line["code"], line.get("request_id")): line for line in finished}
    assert set(by_call) == {  # in any order: a line is written after its answer has gone
        (_PREDICT, "OK", "grpc-1"),
        (_PREDICT, "INVALID_ARGUMENT", None),
        (_PREDICT, "OK", "slow-1"),
        ("REST predict", "INVALID_ARGUMENT", None),
        ("REST predict", "NOT_FOUND", "rest-1"),
    }
    assert len(finished) == len(by_call)
    slow_line = by_call[_PREDICT, "OK", "slow-1"]
    assert (slow_line["level"], slow_line["model"]) == ("INFO", "spinner")
    assert slow_line["duration_ms"] > 100
    assert "gone" in by_call["REST predict", "NOT_FOUND", "rest-1"]["message"]
    assert "secret" not in ranker.output()


def test_text_for_people_names_the_request_of_a_failed_call(
    models: Any, start_server: Callable[..., Any], ask: Any, tmp_path: Path
) -> None:
    models.ranker(tmp_path / "ranker" / "1")
    server = start_server("--model_name=ranker", f"--model_base_path={tmp_path / 'ranker'}")
    with pytest.raises(grpc.RpcError):
        server.prediction.Predict(ask.predict("gone"), timeout=20, metadata=(("x-request-id", "r-1"),))
    server.stop()
    (line,) = [line for line in server.output().splitlines() if line.endswith(" [request r-1]")]
    assert f" I tastemaker_modelserver.call_log: {_PREDICT} of 'gone' NOT_FOUND after " in line


def test_start_that_fails_says_so_in_json(tmp_path: Path) -> None:
    config = tmp_path / "models.config"
    ended = _start(f"--model_config_file={config}", **_JSON)
    assert ended.returncode == 1
    (line,) = _lines(ended.stderr)
    assert line["level"] == "ERROR"
    assert line["message"].startswith("Failed to start server. Error: ")
    assert list(line)[:4] == ["time", "level", "logger", "message"]


def test_bad_flags_are_lines_in_json_where_json_is_asked_for() -> None:
    ended = _start("--prot=1", "--rest_api_port=many", **_JSON)
    assert ended.returncode == 2
    messages = [line["message"] for line in _lines(ended.stderr)]
    assert messages[0] == "unknown argument: --prot=1; did you mean --port?"
    assert messages[1] == "--rest_api_port: 'many' is not a whole number"


def test_bad_variables_are_all_named() -> None:
    ended = _start(
        TASTEMAKER_LOG_FORMAT="xml", TASTEMAKER_LOG_LEVEL="loud", TASTEMAKER_LOG_SLOW_CALL_MILLISECONDS="soon"
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        f"tastemaker-modelserver: TASTEMAKER_LOG_{problem}"
        for problem in (
            "FORMAT: 'xml' is not one of text, json",
            "LEVEL: 'loud' is not one of DEBUG, INFO, WARNING, ERROR",
            "SLOW_CALL_MILLISECONDS: 'soon' is not a whole number of milliseconds above 0",
        )
    ]
