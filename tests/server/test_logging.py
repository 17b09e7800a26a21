"""What a front writes to stderr: as JSON every line, with the request id of its call and with nothing personal."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tastemaker.v1 import feedback_service_pb2, recommendation_service_pb2
from tastemaker_server.call import metadata_value
from tastemaker_server.testing import make_event

_RECOMMEND = "/tastemaker.v1.RecommendationService/Recommend"
_FEEDBACK = "/tastemaker.v1.FeedbackService/Feedback"
_JSON = '[logging]\nformat = "json"\n'
_JSON_DEBUG = f'{_JSON}level = "DEBUG"\n'


def _lines(front: Any) -> list[dict[str, Any]]:
    """Everything it wrote until its end, a dict for each line; fails where one is no JSON object."""
    assert front.terminate() == 0
    front.reader.join(10)
    found = [json.loads(line) for line in front.log]
    assert all(isinstance(line, dict) for line in found)
    return found


def _ask(
    wire: Any, *, metadata: tuple[tuple[str, str], ...] = (), **fields: Any
) -> tuple[recommendation_service_pb2.RecommendResponse, str]:
    """A page, and the request id in the trailing metadata."""
    request = recommendation_service_pb2.RecommendRequest(**{"user_id": "u1", "surface": "home", **fields})
    call = wire.channel.unary_unary(
        _RECOMMEND,
        request_serializer=recommendation_service_pb2.RecommendRequest.SerializeToString,
        response_deserializer=recommendation_service_pb2.RecommendResponse.FromString,
    )
    response, done = call.with_call(request, timeout=5, metadata=metadata)
    return response, dict(done.trailing_metadata())["x-request-id"]


def _refused(wire: Any, *events: Any, request_id: str) -> tuple[str, str]:
    """The request id of an error: in its details and in the trailing metadata."""
    call = wire.channel.unary_unary(
        _FEEDBACK, request_serializer=feedback_service_pb2.FeedbackRequest.SerializeToString
    )
    with pytest.raises(grpc.RpcError) as raised:
        call(
            feedback_service_pb2.FeedbackRequest(events=events),
            timeout=5,
            metadata=(("x-request-id", request_id),),
        )
    error: Any = raised.value
    info = error_details_pb2.RequestInfo()
    assert any(detail.Unpack(info) for detail in rpc_status.from_call(error).details)
    return info.request_id, dict(error.trailing_metadata())["x-request-id"]


def test_every_line_of_a_front_in_json_is_an_object_from_start_to_end(start_front: Callable[..., Any]) -> None:
    front = start_front(_JSON)
    lines = _lines(front)
    assert f"serving on {front.address}; surfaces: home" in [line["message"] for line in lines]
    assert lines[-1]["message"] == "ended"
    for line in lines:
        assert list(line)[:4] == ["time", "level", "logger", "message"]
        time = datetime.fromisoformat(line["time"])
        assert time.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - time) < timedelta(minutes=5)
        assert "request_id" not in line  # no call was answered


def test_call_without_an_id_is_given_one_that_its_answer_and_its_line_carry(
    start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    front = start_front(_JSON_DEBUG)
    response, trailer = _ask(connect(front.address))
    assert re.fullmatch("[0-9a-f]{32}", response.request_id)
    assert trailer == response.request_id
    (line,) = [line for line in _lines(front) if line.get("method") == _RECOMMEND]
    assert line["request_id"] == response.request_id
    assert (line["level"], line["logger"]) == ("DEBUG", "tastemaker_server.call_log")
    assert (line["code"], line["surface"], line["tier"]) == ("OK", "home", "POPULAR")
    assert 0 < line["duration_ms"] < 5000


def test_id_of_the_metadata_is_kept_and_the_requests_own_comes_before_it(
    start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    front = start_front(_JSON_DEBUG)
    wire = connect(front.address)
    sent = (("x-request-id", "meta-1"),)
    assert [(page.request_id, trailer) for page, trailer in [_ask(wire, metadata=sent)]] == [("meta-1", "meta-1")]
    page, trailer = _ask(wire, metadata=sent, request_id="zoë 1")
    assert (page.request_id, trailer) == ("zoë 1", "zo%C3%AB%201")
    found = [line["request_id"] for line in _lines(front) if line.get("method") == _RECOMMEND]
    assert found == ["meta-1", "zoë 1"]


@pytest.mark.parametrize("bad", ["", "two words", "x" * 385])
def test_bad_id_in_the_metadata_is_replaced_and_fails_no_call(wire: Any, bad: str) -> None:
    page, trailer = _ask(wire, metadata=(("x-request-id", bad),))
    assert re.fullmatch("[0-9a-f]{32}", page.request_id)
    assert trailer == page.request_id


def test_longest_id_of_a_request_fits_into_metadata(wire: Any) -> None:
    longest = "ß" * 64  # 128 bytes, percent-encoded 384
    assert _ask(wire, metadata=(("x-request-id", metadata_value(longest)),))[1] == metadata_value(longest)
    assert _ask(wire, request_id=longest)[1] == metadata_value(longest)


def test_refused_call_has_a_line_with_its_reason_and_its_error_names_the_id(
    start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    front = start_front(_JSON)
    assert _refused(connect(front.address), make_event(""), request_id="fb-1") == ("fb-1", "fb-1")
    (line,) = [line for line in _lines(front) if line.get("request_id") == "fb-1"]
    assert (line["method"], line["code"], line["reason"]) == (_FEEDBACK, "INVALID_ARGUMENT", "INVALID_FIELDS")
    assert line["level"] == "INFO"


@dataclass
class _SilentModels(grpc.GenericRpcHandler):
    """A model server that has every model and never answers: what makes a call of the front slow."""

    address: str = ""
    request_ids: list[str | bytes] = field(default_factory=list)
    """Of the Predict calls that came."""
    _end: threading.Event = field(default_factory=threading.Event)

    def service(self, handler_call_details: Any) -> Any:
        if handler_call_details.method.endswith("/Predict"):
            self.request_ids += [
                value for key, value in handler_call_details.invocation_metadata if key == "x-request-id"
            ]
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self._end.wait(30))

    def end(self) -> None:
        self._end.set()


@pytest.fixture
def silent_models() -> Iterator[_SilentModels]:
    models = _SilentModels()
    server = grpc.server(ThreadPoolExecutor(max_workers=8), handlers=[models])
    models.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield models
    models.end()
    server.stop(None).wait()


def test_call_that_goes_well_has_no_line_unless_it_is_slow(
    start_front: Callable[..., Any], connect: Callable[[str], Any], silent_models: _SilentModels
) -> None:
    quick = start_front(f"{_JSON}slow_call_milliseconds = 60000\n")
    _ask(connect(quick.address))
    assert not [line for line in _lines(quick) if "method" in line]
    slow = start_front(
        f"{_JSON}slow_call_milliseconds = 100\n"
        f'[model_server]\naddress = "{silent_models.address}"\n[surfaces.home]\nmodel = "rnn"\n'
    )
    wire = connect(slow.address)
    wire.feedback(make_event("a"))
    _ask(wire, request_id="slow-1")
    assert silent_models.request_ids == ["slow-1"]
    lines = [line for line in _lines(slow) if line.get("request_id") == "slow-1"]
    (finished,) = [line for line in lines if "method" in line]
    assert (finished["level"], finished["code"]) == ("INFO", "OK")
    assert finished["duration_ms"] > 100
    (model,) = [line for line in lines if "method" not in line]  # what is said within the call carries its id too
    assert model["message"].startswith("LIVE_MODEL gave no answer: rnn: DEADLINE_EXCEEDED")


def test_text_for_people_has_the_id_as_well(start_front: Callable[..., Any], connect: Callable[[str], Any]) -> None:
    front = start_front()
    _refused(connect(front.address), make_event(""), request_id="fb-2")
    front.terminate()
    front.reader.join(10)
    (line,) = [line for line in front.log if "[request fb-2]" in line]
    assert re.match(
        rf"\S+ \S+ INFO tastemaker_server\.call_log: {_FEEDBACK} INVALID_ARGUMENT after [\d.]+ ms \(INVALID_FIELDS\) ",
        line,
    )


def test_nothing_that_a_user_did_or_is_called_gets_into_the_log(
    start_front: Callable[..., Any], connect: Callable[[str], Any], call_error: Callable[..., Any]
) -> None:
    front = start_front(_JSON_DEBUG)
    wire = connect(front.address)
    event = make_event("secret-event", user_id="secret-user", item_id="secret-item")
    wire.feedback(event)
    wire.recommend("secret-user", item_id="secret-item", segment="secret-segment")
    changed = make_event("secret-event", user_id="secret-user", item_id="secret-other")
    assert call_error(wire.feedback, changed).reason == "EVENT_ID_REUSED"
    assert call_error(wire.recommend, "secret-user", "secret-surface").reason == "UNKNOWN_SURFACE"
    wrong = make_event("secret-event", user_id="secret-user\n", item_id="secret-item")
    wrong.attribution_token = "secret-token"
    assert call_error(wire.feedback, wrong).reason == "INVALID_FIELDS"
    lines = _lines(front)
    assert {line["code"] for line in lines if "code" in line} >= {"OK", "ALREADY_EXISTS", "NOT_FOUND"}
    assert "secret" not in json.dumps(lines)


def _start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tastemaker_server.main", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PATH": "", **environment},
    )


def test_start_that_fails_says_so_in_json_and_without_the_password(tmp_path: Path) -> None:
    url = "redis://front:hunter2@127.0.0.1:9/0"
    ended = _start(
        TASTEMAKER_FRONT_LOGGING__FORMAT="json",
        TASTEMAKER_FRONT_STORES__ONLINE_STORE=url,
        TASTEMAKER_FRONT_SERVER__DATA_DIR=str(tmp_path),
        TASTEMAKER_FRONT_SERVER__ADDRESS="127.0.0.1:0",
    )
    assert ended.returncode == 1
    (line,) = map(json.loads, ended.stderr.splitlines())
    assert line["level"] == "ERROR"
    assert "online_store is unavailable" in line["message"]
    assert "redis://front:***@127.0.0.1:9" in line["message"]
    assert "hunter2" not in ended.stderr


def test_every_bad_setting_is_a_line_in_json_where_json_is_asked_for(tmp_path: Path) -> None:
    config = tmp_path / "front.toml"
    config.write_text(f'{_JSON}[server]\nadress = "x"\n[state]\nmax_history_events = 0\n')
    ended = _start("--check-config", "--config", str(config))
    assert ended.returncode == 2
    messages = [json.loads(line)["message"] for line in ended.stderr.splitlines()]
    assert len(messages) == 2
    assert "server.adress: unknown setting" in messages[0] + messages[1]


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ('format = "xml"', "logging.format: Input should be 'text' or 'json' (found 'xml')"),
        ('level = "TRACE"', "logging.level: Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR' (found 'TRACE')"),
        ("slow_call_milliseconds = 0", "logging.slow_call_milliseconds: Input should be greater than or equal to 1"),
        ('fromat = "json"', "logging.fromat: unknown setting; did you mean 'format'?"),
    ],
)
def test_bad_setting_of_the_log_is_named(tmp_path: Path, toml: str, problem: str) -> None:
    config = tmp_path / "front.toml"
    config.write_text(f"[logging]\n{toml}\n")
    ended = _start("--check-config", "--config", str(config))
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: {config}: {problem}")


_LEFT_TO_PYTHON = """
import threading, warnings
from tastemaker_server.process_log import set_up_log
from tastemaker_server.settings import LoggingSettings

class Broken:
    def __del__(self):
        raise ValueError("in a finalizer")

set_up_log(LoggingSettings(format="json"))
warnings.warn("old")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
Broken()
raise RuntimeError("redis://front:hunter2@host")
"""


def test_what_python_itself_would_write_is_json_too() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _LEFT_TO_PYTHON], capture_output=True, text=True, timeout=30, check=False
    )
    warned, *raised = map(json.loads, ended.stderr.splitlines())
    assert ended.returncode == 1
    assert (warned["logger"], warned["level"]) == ("py.warnings", "WARNING")
    last = [line["exception"].splitlines()[-1] for line in raised]
    assert last == [
        "ZeroDivisionError: division by zero",
        "ValueError: in a finalizer",
        "RuntimeError: redis://front:***@host",
    ]
    assert [line["level"] for line in raised] == ["ERROR", "ERROR", "CRITICAL"]
