"""Real SavedModels and real model server processes for these tests.

Processes are started on free ports and ended by their own id; TensorFlow's import costs seconds, so a module shares
one where it can.
"""

import contextlib
import http.client
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.modelserver.asking import Asking
from tests.modelserver.saved_models import Models

_FAST_RECONNECT = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
START_TIMEOUT_S = 90


def free_port() -> int:
    """A TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A running `tastemaker-modelserver` and stubs to call it."""

    def __init__(self, log: Path, *flags: str, rest: bool = False, environment: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self.rest_port = free_port() if rest else 0
        self.log = log
        flags = (*flags, f"--rest_api_port={self.rest_port}")
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tastemaker_modelserver", f"--port={self.port}", *flags],
                stdout=out,
                stderr=out,
                env=os.environ | (environment or {}),
            )
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", options=_FAST_RECONNECT)
        grpc_stubs = importlib.import_module("tensorflow_serving.apis.prediction_service_pb2_grpc")
        model_stubs = importlib.import_module("tensorflow_serving.apis.model_service_pb2_grpc")
        self.prediction = grpc_stubs.PredictionServiceStub(self.channel)
        self.model = model_stubs.ModelServiceStub(self.channel)

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> "Server":
        """Waits until the port answers; fails with the log when the process ends first."""
        ready = grpc.channel_ready_future(self.channel)
        deadline = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(grpc.FutureTimeoutError):
                ready.result(timeout=0.2)
                return self
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"The server did not start, status {self.process.poll()}:\n{self.output()}")

    def rest(self, path: str, body: object = None, *, method: str | None = None, **headers: str) -> tuple[int, Any]:
        """The HTTP code and the parsed JSON, or the text where it is none. A body of `bytes` goes as it is."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        verb = method or ("GET" if data is None else "POST")
        request = urllib.request.Request(f"http://127.0.0.1:{self.rest_port}{path}", data, headers, method=verb)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  # http, as written above
                code, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                code, text = error.code, error.read().decode()
        try:
            return code, json.loads(text)
        except json.JSONDecodeError:
            return code, text

    def states(self, model: str) -> dict[int, str]:
        """Version → state, as GetModelStatus tells; empty while the model is unknown."""
        request = importlib.import_module("tensorflow_serving.apis.get_model_status_pb2").GetModelStatusRequest()
        request.model_spec.name = model
        try:
            answer = self.model.GetModelStatus(request, timeout=10)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return {}
        return {
            entry.version: entry.State.Name(entry.state)
            + (f" {entry.status.error_message}" if entry.status.error_code else "")
            for entry in answer.model_version_status
        }

    def output(self) -> str:
        """What it has written so far."""
        return self.log.read_text("utf-8", errors="replace")

    def stop(self, *, timeout_s: float = 30) -> int:
        """Ends it as an operator would, and returns its exit status."""
        self.channel.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


StartServer = Callable[..., Server]


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Starts model servers with the given flags; all are ended after the module."""
    servers: list[Server] = []
    logs = tmp_path_factory.mktemp("logs")

    def start(*flags: str, wait: bool = True, rest: bool = False, environment: dict[str, str] | None = None) -> Server:
        server = Server(logs / f"{len(servers)}.log", *flags, rest=rest, environment=environment)
        servers.append(server)
        return server.wait_ready() if wait else server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def standard(
    models: Models, write_config: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One server, gRPC and REST, for all tests that only ask: `affine` (version 123), `ranker` (1), `spinner` (1)."""
    base = tmp_path_factory.mktemp("standard")
    models.affine(base / "affine" / "00000123")
    models.ranker(base / "ranker" / "1")
    models.spinner(base / "spinner" / "1")
    config = write_config(
        base / "models.config",
        {name: base / name for name in ("affine", "ranker", "spinner")},
        {"affine": 'version_labels { key: "stable" value: 123 }'},
    )
    monitoring = base / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    server = Server(
        base / "server.log",
        f"--model_config_file={config}",
        f"--monitoring_config_file={monitoring}",
        "--enable_grpc_healthcheck_service",
        "--rest_api_enable_cors_support",
        rest=True,
    )
    yield server.wait_ready()
    assert server.stop() == 0


@pytest.fixture(scope="session")
def people(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of `people` (version 7), for Classify, Regress and MultiInference."""
    base = tmp_path_factory.mktemp("people")
    models.people(base / "people" / "7")
    server = Server(base / "server.log", "--model_name=people", f"--model_base_path={base / 'people'}")
    yield server.wait_ready()
    assert server.stop() == 0


@dataclass(frozen=True)
class Edges:
    """A server with everything about its ports set: `affine` (versions 1 and 2, whose intercept is 20)."""

    server: Server
    rest: "Rest"
    socket: str
    """The gRPC address of its Unix socket."""
    page: str
    """The path of its page of metrics."""
    largest_bytes: int
    """Of a message that it takes."""


@pytest.fixture(scope="session")
def edges(
    models: Models,
    write_config: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
    until: Callable[..., None],
) -> Iterator[Edges]:
    """A server with a page of metrics on a path of its own, a socket, health, and a small largest message."""
    base = tmp_path_factory.mktemp("edges")
    models.affine(base / "affine" / "1")
    models.affine(base / "affine" / "2", intercept=20.0)
    config = write_config(
        base / "models.config", {"affine": base / "affine"}, {"affine": "model_version_policy { all {} }"}
    )
    page, largest = "/own/metrics", 20_000
    (base / "monitoring.config").write_text(f'prometheus_config {{ enable: true path: "{page}" }}')
    server = Server(
        base / "server.log",
        f"--model_config_file={config}",
        f"--monitoring_config_file={base / 'monitoring.config'}",
        f"--grpc_socket_path={base / 'plain.sock'}",
        "--enable_grpc_healthcheck_service",
        f"--grpc_channel_arguments=grpc.max_receive_message_length={largest},grpc.primary_user_agent=ours",
        rest=True,
    ).wait_ready()
    until(lambda: server.states("affine") == {2: "AVAILABLE", 1: "AVAILABLE"})  # ports open once there is one of them
    yield Edges(server, Rest(server.rest_port).wait_ready(), f"unix:{base / 'plain.sock'}", page, largest)
    assert server.stop() == 0


@pytest.fixture(scope="session")
def ask(tf: Any) -> Asking:
    """Builds requests for a test."""
    return Asking(tf)


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """Waits for something to come true."""

    def wait(condition: Callable[[], object], *, timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.05)  # between questions, not instead of one

    return wait


class Rest:
    """A client of a server's HTTP port."""

    def __init__(self, port: int) -> None:
        self.port = port

    def wait_ready(self, timeout_s: float = 10) -> "Rest":
        """Waits until the port is open, which is right after the gRPC port."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout_s).close()
            except OSError:
                assert time.monotonic() < deadline, "the HTTP port did not open"
            else:
                return self

    def send(
        self, method: str, path: str, body: str | bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], str]:
        """The status, the headers and the text of the answer."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode("utf-8")

    def get(self, path: str) -> tuple[int, Any]:
        """The status and the JSON of the answer."""
        status, _, text = self.send("GET", path)
        return status, json.loads(text)

    def post(self, path: str, document: Any) -> tuple[int, Any]:
        """Sends JSON; a string or bytes go as they are."""
        body = document if isinstance(document, str | bytes) else json.dumps(document)
        status, _, text = self.send("POST", path, body)
        return status, json.loads(text)


StartRest = Callable[..., tuple[Server, Rest]]


@pytest.fixture(scope="module")
def start_rest(start_server: StartServer) -> StartRest:
    """Starts a model server with an HTTP port, and returns it with a client of that port."""

    def start(*flags: str) -> tuple[Server, Rest]:
        server = start_server(*flags, rest=True)
        return server, Rest(server.rest_port).wait_ready()

    return start


@pytest.fixture(scope="session")
def write_config() -> Callable[..., Path]:
    """Writes a ModelServerConfig; `extra` holds further lines per model."""

    def write(path: Path, bases: dict[str, Path], extra: dict[str, str] | None = None) -> Path:
        more = extra or {}
        entries = [
            f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" {more.get(name, "")} }}'
            for name, base in bases.items()
        ]
        path.write_text("model_config_list {\n" + "\n".join(entries) + "\n}\n")
        return path

    return write


@pytest.fixture(scope="session")
def tf() -> Any:
    """TensorFlow, imported once and only by the tests that need it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return importlib.import_module("tensorflow")


@pytest.fixture(scope="session")
def models(tf: Any) -> Models:
    """Writes SavedModels for a test."""
    return Models(tf)
