"""Starting, health, reflection, draining, and the ways in which a start can fail."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tastemaker_server.testing import make_event

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def _health(channel: grpc.Channel, name: str) -> int:
    request = health_pb2.HealthCheckRequest(service=name)
    status: int = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5).status
    return status


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tastemaker_server.main", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PATH": "", **environment},
    )


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("", _SERVING),
        ("tastemaker.v1.RecommendationService", _SERVING),
        ("tastemaker.v1.FeedbackService", _SERVING),
        ("event_log", _SERVING),
        ("online_store", _SERVING),
        ("model/rnn", _NOT_SERVING),
    ],
)
def test_health_names_components_and_a_missing_model_server_is_only_its_own_fault(
    wire: Any, name: str, status: int
) -> None:
    assert _health(wire.channel, name) == status


def test_unknown_component_is_not_found(wire: Any) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        _health(wire.channel, "nonsense")
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND


def test_reflection_describes_the_services(wire: Any) -> None:
    services = set(ProtoReflectionDescriptorDatabase(wire.channel).get_services())
    assert services >= {"tastemaker.v1.RecommendationService", "tastemaker.v1.FeedbackService", "grpc.health.v1.Health"}


def test_sigterm_turns_health_first_and_serves_on_until_the_delay_is_over(
    start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    front = start_front(server="drain_delay_seconds = 1.5")
    wire = connect(front.address)
    watch = health_pb2_grpc.HealthStub(wire.channel).Watch(health_pb2.HealthCheckRequest(), timeout=20)
    assert next(watch).status == _SERVING
    front.process.send_signal(signal.SIGTERM)
    assert next(watch).status == _NOT_SERVING
    assert wire.feedback(make_event("late")).accepted_count == 1  # a call that comes while balancers still turn away
    assert front.process.wait(20) == 0
    watch.cancel()


def test_call_in_flight_finishes_while_draining(start_front: Callable[..., Any], connect: Callable[[str], Any]) -> None:
    with socket.create_server(
        ("127.0.0.1", 0)
    ) as hanging:  # a model server that never answers keeps the call in flight
        front = start_front(
            f'[model_server]\naddress = "127.0.0.1:{hanging.getsockname()[1]}"\n[surfaces.home]\nmodel = "rnn"\n'
            "live_model_timeout_milliseconds = 1500\n"
        )
        wire = connect(front.address)
        wire.feedback(make_event("a"), make_event("b", user_id="x", item_id="i2"))
        call = wire.start_recommend("u1", timeout=10)
        wire.recommend("nobody")  # behind the other on the same connection: once it is answered, that one has arrived
        assert front.terminate() == 0
        assert [item.item_id for item in call.result().items] == ["i2"]


def test_taken_port_stops_the_start_with_the_reason(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = tmp_path / "front.toml"
        config.write_text(f'[server]\naddress = "{address}"\ndata_dir = "{tmp_path}/front"\n')
        ended = _run("--config", str(config))
    assert ended.returncode == 2
    assert f"error: server.address: cannot listen on {address}: the port is taken" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_two_fronts_do_not_share_a_port_unasked(start_front: Callable[..., Any], tmp_path: Path) -> None:
    first = start_front()
    ended = _run(
        TASTEMAKER_FRONT_SERVER__ADDRESS=first.address, TASTEMAKER_FRONT_SERVER__DATA_DIR=str(tmp_path / "second")
    )
    assert ended.returncode == 2
    assert "cannot listen on" in ended.stderr


def test_data_dir_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = _run(
        TASTEMAKER_FRONT_SERVER__DATA_DIR=str(tmp_path / "file" / "front"),
        TASTEMAKER_FRONT_SERVER__ADDRESS="127.0.0.1:0",
    )
    assert ended.returncode == 2
    assert "error: server.data_dir:" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_damaged_event_log_stops_the_start_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "events.db").write_bytes(b"garbage" * 1000)
    ended = _run(TASTEMAKER_FRONT_SERVER__DATA_DIR=str(tmp_path), TASTEMAKER_FRONT_SERVER__ADDRESS="127.0.0.1:0")
    assert ended.returncode == 1
    assert "error: event_log is unavailable:" in ended.stderr
    assert "events.db" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_check_config_prints_the_settings_and_starts_nothing(tmp_path: Path) -> None:
    ended = _run("--check-config", TASTEMAKER_FRONT_SERVER__DATA_DIR=str(tmp_path / "front"))
    assert ended.returncode == 0
    assert '"address": "127.0.0.1:50051"' in ended.stdout
    assert not (tmp_path / "front").exists()


def test_check_config_lists_every_problem(tmp_path: Path) -> None:
    config = tmp_path / "front.toml"
    config.write_text('[server]\nadress = "x"\n[surfaces.home]\ntiers = ["LIVE_MODEL"]\n')
    ended = _run("--check-config", "--config", str(config), TASTEMAKER_FRONT_STATE__MAX_HISTORY_EVENTS="many")
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 3
    assert "server.adress: unknown setting; did you mean 'address'?" in ended.stderr
    assert "TASTEMAKER_FRONT_STATE__MAX_HISTORY_EVENTS: state.max_history_events:" in ended.stderr
    assert "surfaces.home: tiers has LIVE_MODEL and no model is named" in ended.stderr
