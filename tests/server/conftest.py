"""Fixtures for tests that speak to a front over its wire."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.servers.predicting import Predicting
from tests.servers.prometheus import Scrape, front_metrics_url, scrape

from tastemaker.v1 import (
    feedback_service_pb2,
    feedback_service_pb2_grpc,
    recommendation_service_pb2,
    recommendation_service_pb2_grpc,
)


@dataclass
class Wire:
    """Plain generated stubs: what a caller in any language has."""

    channel: grpc.Channel

    def __post_init__(self) -> None:
        self._recommend = recommendation_service_pb2_grpc.RecommendationServiceStub(self.channel)
        self._feedback = feedback_service_pb2_grpc.FeedbackServiceStub(self.channel)

    def recommend(
        self, user_id: str = "u1", surface: str = "home", *, timeout: float | None = 5, **fields: Any
    ) -> recommendation_service_pb2.RecommendResponse:
        request = recommendation_service_pb2.RecommendRequest(user_id=user_id, surface=surface, **fields)
        return self._recommend.Recommend(request, timeout=timeout)

    def start_recommend(self, user_id: str, *, timeout: float) -> Any:
        """A call that goes on; its `result()` waits for the answer."""
        request = recommendation_service_pb2.RecommendRequest(user_id=user_id, surface="home")
        return self._recommend.Recommend.future(request, timeout=timeout)

    def feedback(self, *events: feedback_service_pb2.FeedbackEvent) -> feedback_service_pb2.FeedbackResponse:
        return self._feedback.Feedback(feedback_service_pb2.FeedbackRequest(events=events), timeout=10)

    def item_ids(self, user_id: str = "u1", **fields: Any) -> list[str]:
        return [item.item_id for item in self.recommend(user_id, **fields).items]


@dataclass
class CallError:
    """An error as a caller sees it, its details unpacked."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    domain: str = ""
    metadata: dict[str, str] | None = None
    fields: dict[str, str] | None = None
    """Bad fields with their descriptions."""
    retry_delay_seconds: float | None = None


@pytest.fixture
def call_error() -> Callable[..., CallError]:
    """Runs a call that must fail, and returns its error: `call_error(wire.recommend, "u1", "nowhere")`."""

    def run(call: Callable[..., Any], *arguments: Any, **keywords: Any) -> CallError:
        with pytest.raises(grpc.RpcError) as raised:
            call(*arguments, **keywords)
        error: Any = raised.value
        seen = CallError(error.code(), error.details())
        status = rpc_status.from_call(error)
        for detail in status.details if status is not None else []:
            info, bad, retry = (
                error_details_pb2.ErrorInfo(),
                error_details_pb2.BadRequest(),
                error_details_pb2.RetryInfo(),
            )
            if detail.Unpack(info):
                seen.reason, seen.domain, seen.metadata = info.reason, info.domain, dict(info.metadata)
            elif detail.Unpack(bad):
                seen.fields = {violation.field: violation.description for violation in bad.field_violations}
            elif detail.Unpack(retry):
                seen.retry_delay_seconds = retry.retry_delay.ToMilliseconds() / 1000
        return seen

    return run


@pytest.fixture
def connect() -> Iterator[Callable[[str], Wire]]:
    """Opens stubs to an address."""
    channels: list[grpc.Channel] = []

    def open_wire(address: str) -> Wire:
        # Without a share of connections: a front that was started anew on the same port gets a new one at once.
        channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        channels.append(channel)
        return Wire(channel)

    yield open_wire
    for channel in channels:
        channel.close()


@pytest.fixture
def wire(start_front: Callable[..., Any], connect: Callable[[str], Wire]) -> Wire:
    """Stubs to a new front with the default settings and no model server."""
    return connect(start_front().address)


@pytest.fixture
def start_metered(
    start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> Callable[..., tuple[Any, Callable[[], Scrape], str]]:
    """Starts a front with metrics: `start_metered(toml)` gives stubs, a way to scrape it, and where it is scraped."""

    def start(toml: str = "") -> tuple[Any, Callable[[], Scrape], str]:
        front = start_front('[metrics]\naddress = "127.0.0.1:0"\n' + toml)
        url = front_metrics_url(front.log)
        return connect(front.address), lambda: scrape(url), url

    return start


@pytest.fixture
def predicting() -> Iterator[tuple[Predicting, str]]:
    """A model server, and the lines of a front's settings that name it."""
    handler = Predicting()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    surface = 'model = "rnn"\nlive_model_timeout_milliseconds = 20000\nreserve_milliseconds = 0\n'
    yield handler, f'[model_server]\naddress = "127.0.0.1:{port}"\n[surfaces.home]\n{surface}'
    handler.may_answer.set()
    server.stop(None).wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class RedisServer:
    """A real redis-server on a free port, which can be killed, started again on its data, and told to hang."""

    folder: Path
    port: int
    arguments: tuple[str, ...] = ()
    is_cluster: bool = False
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"redis{'+cluster' if self.is_cluster else ''}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it, and returns once it answers."""
        extra = ("--cluster-enabled", "yes", "--cluster-port", str(_free_port())) if self.is_cluster else ()
        arguments = [
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder),
            "--logfile",
            "redis.log",
        ]
        self.process = subprocess.Popen(
            ["redis-server", *arguments, "--save", "", "--appendonly", "yes", *extra, *self.arguments]
        )
        self._wait_for("PING", "PONG")
        if self.is_cluster:
            if "cluster_slots_assigned:0" in self.command("CLUSTER", "INFO"):  # nodes.conf remembers them
                self.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            self._wait_for("CLUSTER", "INFO", "cluster_state:ok")

    def command(self, *arguments: str) -> str:
        """What redis-cli prints for a command."""
        command = ["redis-cli", "-p", str(self.port), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout

    def kill(self) -> None:
        """Kill -9, and waits for the end."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def _wait_for(self, *command: str) -> None:
        *arguments, expected = command
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "redis.log").read_text()
            asked = subprocess.run(
                ["redis-cli", "-p", str(self.port), *arguments], capture_output=True, text=True, check=False, timeout=30
            )
            if expected in asked.stdout or "NOAUTH" in asked.stdout + asked.stderr:
                return
            time.sleep(0.02)
        raise AssertionError(f"no {expected} from redis-server: {asked.stdout}{asked.stderr}")


@contextlib.contextmanager
def _redis_servers(folder: Path) -> Iterator[Callable[..., RedisServer]]:
    """Starts redis-servers with their data under a folder, and kills them at the end."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    started: list[RedisServer] = []

    def start(*arguments: str, is_cluster: bool = False) -> RedisServer:
        own = folder / f"redis-{len(started)}"
        own.mkdir()
        server = RedisServer(own, _free_port(), arguments, is_cluster)
        started.append(server)
        server.start()
        return server

    try:
        yield start
    finally:
        for server in started:
            if server.process is not None and server.process.poll() is None:
                server.kill()


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Starts redis-servers: `start_redis(*arguments, is_cluster=False)`; skips where none is installed."""
    with _redis_servers(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def _module_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RedisServer]]:
    with _redis_servers(tmp_path_factory.mktemp("redis")) as start:
        yield start


@pytest.fixture(scope="module")
def _one_redis(_module_redis: Callable[..., RedisServer]) -> RedisServer:
    return _module_redis()


@pytest.fixture(scope="module")
def _one_redis_cluster(_module_redis: Callable[..., RedisServer]) -> RedisServer:
    return _module_redis(is_cluster=True)


@pytest.fixture
def redis(_one_redis: RedisServer) -> RedisServer:
    """An empty redis-server, which the tests of a file share: do not harm it."""
    _one_redis.command("FLUSHALL")
    return _one_redis


@pytest.fixture
def redis_cluster(_one_redis_cluster: RedisServer) -> RedisServer:
    """As `redis`, a cluster of one node: it refuses what spans slots, and takes two seconds to start."""
    _one_redis_cluster.command("FLUSHALL")
    return _one_redis_cluster
