"""Real SavedModels and real model server processes for these tests.

Processes are started on free ports and ended by their own id; TensorFlow's import costs seconds, so a module shares
one where it can.
"""

import contextlib
import importlib
import os
import signal
import socket
import subprocess
import sys
import time
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

    def __init__(self, log: Path, *flags: str) -> None:
        self.port = free_port()
        self.log = log
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

    def start(*flags: str, wait: bool = True) -> Server:
        server = Server(logs / f"{len(servers)}.log", *flags)
        servers.append(server)
        return server.wait_ready() if wait else server

    yield start
    for server in servers:
        server.stop()


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


@pytest.fixture(scope="session")
def models(tf: Any) -> Models:
    """Writes SavedModels for a test."""
    return Models(tf)
