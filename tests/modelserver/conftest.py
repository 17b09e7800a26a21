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
from pathlib import Path
from typing import Any

import grpc
import pytest

_FAST_RECONNECT = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
START_TIMEOUT_S = 90


def free_port() -> int:
    """A TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A running `tastemaker-modelserver` and stubs to call it."""

    def __init__(self, log: Path, *flags: str, rest: bool = False) -> None:
        self.port = free_port()
        self.rest_port = free_port() if rest else 0
        self.log = log
        flags = (*flags, f"--rest_api_port={self.rest_port}")
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tastemaker_modelserver", f"--port={self.port}", *flags], stdout=out, stderr=out
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

    def start(*flags: str, wait: bool = True, rest: bool = False) -> Server:
        server = Server(logs / f"{len(servers)}.log", *flags, rest=rest)
        servers.append(server)
        return server.wait_ready() if wait else server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def standard(
    models: "Models", write_config: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
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


class Asking:
    """Builds requests."""

    def __init__(self, tf: Any) -> None:
        self.tf = tf
        self.predict_pb2 = importlib.import_module("tensorflow_serving.apis.predict_pb2")

    def predict(
        self,
        name: str,
        *,
        signature: str = "",
        version: int | None = None,
        label: str = "",
        outputs: tuple[str, ...] = (),
        **inputs: Any,
    ) -> Any:
        """A PredictRequest; an input is a TensorProto or what `make_tensor_proto` takes, float32 by default."""
        made = self.predict_pb2.PredictRequest()
        made.model_spec.name = name
        made.model_spec.signature_name = signature
        if version is not None:
            made.model_spec.version.value = version
        if label:
            made.model_spec.version_label = label
        for alias, value in inputs.items():
            proto = value if hasattr(value, "tensor_shape") else self.tf.make_tensor_proto(value)
            made.inputs[alias].CopyFrom(proto)
        made.output_filter.extend(outputs)
        return made

    def recommend(self, history: list[str], exclude: list[str], k: int, *, scalar: bool = False) -> Any:
        """A request to `ranker` as our front sends it, or with a scalar `k`."""
        count = self.tf.make_tensor_proto(k if scalar else [k], dtype=self.tf.int32)
        return self.predict("ranker", signature="recommend", history=[history], exclude=[exclude], k=count)

    @staticmethod
    def failure(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
        """The status and the message of a call that must fail."""
        with pytest.raises(grpc.RpcError) as caught:
            call()
        error: Any = caught.value
        return error.code(), error.details()


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


class Models:
    """Writes SavedModels, TF1-style and TF2-style."""

    def __init__(self, tf: Any) -> None:
        self._tf = tf

    def affine(self, folder: Path, *, slope: float = 0.5, intercept: float = 2.0) -> Path:
        """A TF1-style model: y = slope * x + intercept, with predict, classify and regress signatures."""
        v1 = self._tf.compat.v1
        graph = self._tf.Graph()
        with graph.as_default(), v1.Session(graph=graph) as session:
            a = v1.get_variable("a", initializer=slope, use_resource=False)
            b = v1.get_variable("b", initializer=intercept, use_resource=False)
            serialized = v1.placeholder(self._tf.string, [None], name="tf_example")
            parsed = v1.parse_example(serialized, {"x": v1.FixedLenFeature([1], self._tf.float32, default_value=[0.0])})
            x = self._tf.identity(parsed["x"], name="x")  # [B, 1]
            y = self._tf.add(self._tf.multiply(a, x), b, name="y")
            session.run(v1.global_variables_initializer())
            definition = v1.saved_model.signature_def_utils.build_signature_def
            info = v1.saved_model.utils.build_tensor_info
            builder = v1.saved_model.Builder(str(folder))
            builder.add_meta_graph_and_variables(
                session,
                ["serve"],
                signature_def_map={
                    "serving_default": definition({"x": info(x)}, {"y": info(y)}, "tensorflow/serving/predict"),
                    "regress": definition(
                        {"inputs": info(serialized)}, {"outputs": info(y)}, "tensorflow/serving/regress"
                    ),
                    "classify": definition(
                        {"inputs": info(serialized)}, {"scores": info(y)}, "tensorflow/serving/classify"
                    ),
                },
            )
            builder.save()
        return folder

    def ranker(self, folder: Path, *, items: int = 20) -> Path:
        """A TF2-style model with our own contract: ids in, ids out, look-up tables inside.

        An item scores the number of times it is in the history, plus a hundredth less for each place in the catalogue.
        """
        tf = self._tf
        ids = [f"i{number}" for number in range(items)]

        class Ranker(tf.Module):  # type: ignore[name-defined,misc]
            def __init__(self) -> None:
                super().__init__()
                keys = tf.lookup.KeyValueTensorInitializer(tf.constant(ids), tf.range(items, dtype=tf.int64))
                self.index = tf.lookup.StaticHashTable(keys, default_value=-1)
                self.ids = tf.constant(ids)

            @tf.function(
                input_signature=[
                    tf.TensorSpec([None, None], tf.string, name="history"),
                    tf.TensorSpec([None, None], tf.string, name="exclude"),
                    tf.TensorSpec(None, tf.int32, name="k"),
                ]
            )
            def recommend(self, history: Any, exclude: Any, k: Any) -> dict[str, Any]:
                seen = tf.reduce_sum(tf.one_hot(self.index.lookup(history), items), 1)  # [B, I]
                banned = tf.reduce_sum(tf.one_hot(self.index.lookup(exclude), items), 1)  # [B, I]
                score = seen - tf.range(items, dtype=tf.float32) / 100
                score = tf.where(banned > 0, -float("inf"), score)
                best, places = tf.math.top_k(score, tf.reduce_max(k))
                return {"item_id": tf.gather(self.ids, places), "score": best}

        module = Ranker()
        tf.saved_model.save(
            module, str(folder), signatures={"serving_default": module.recommend, "recommend": module.recommend}
        )
        return folder

    def spinner(self, folder: Path) -> Path:
        """A model that counts to n: y [B] = x, after n steps of a loop, some 0.2 million a second."""
        tf = self._tf

        class Spinner(tf.Module):  # type: ignore[name-defined,misc]
            @tf.function(
                input_signature=[tf.TensorSpec([None], tf.float32, name="x"), tf.TensorSpec([], tf.float32, name="n")]
            )
            def spin(self, x: Any, n: Any) -> dict[str, Any]:
                (steps,) = tf.while_loop(lambda i: i < n, lambda i: (i + 1.0,), (tf.constant(0.0),))
                return {"y": x + 0.0 * steps}

        module = Spinner()
        tf.saved_model.save(module, str(folder), signatures={"serving_default": module.spin})
        return folder


@pytest.fixture(scope="session")
def models(tf: Any) -> Models:
    """Writes SavedModels for a test."""
    return Models(tf)
