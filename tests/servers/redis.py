"""Real Redis servers for tests: one, a cluster of one node, and a cluster of three masters with a replica each."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

__all__ = ["RedisCluster", "RedisServer", "own_redis_cluster", "redis", "redis_cluster", "start_redis", "three_masters"]


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
        self.wait_for("PING", "PONG")
        if self.is_cluster:
            if "cluster_slots_assigned:0" in self.command("CLUSTER", "INFO"):  # nodes.conf remembers them
                self.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            self.wait_for("CLUSTER", "INFO", "cluster_state:ok")

    def command(self, *arguments: str) -> str:
        """What redis-cli prints for a command."""
        command = ["redis-cli", "-p", str(self.port), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout

    def kill(self) -> None:
        """Kill -9, and waits for the end."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def wait_for(self, *command: str) -> None:
        """Returns once redis-cli prints the last argument for the command that the others are."""
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


class RedisCluster:
    """Three masters, each with a replica that takes its place a few seconds after it was killed."""

    def __init__(self, start: Callable[..., RedisServer]) -> None:
        # What a dead node's slots cost is seen only where the others go on.
        settings = (
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1500",
            "--cluster-require-full-coverage",
            "no",
        )
        self.nodes = [start(*settings, "--cluster-port", str(_free_port())) for _ in range(6)]
        addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
        create = ["redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes"]
        subprocess.run(create, check=True, capture_output=True, timeout=60)
        for node in self.nodes:
            node.wait_for("CLUSTER", "INFO", "cluster_state:ok")
            node.wait_for("CLUSTER", "INFO", "cluster_known_nodes:6")
            if node.command("ROLE").startswith("slave"):  # one that never was in step cannot take over
                node.wait_for("INFO", "replication", "master_link_status:up")

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port}"

    def masters(self) -> list[RedisServer]:
        """The masters that are alive."""
        alive = [node for node in self.nodes if node.process is not None and node.process.poll() is None]
        return [node for node in alive if node.command("ROLE").startswith("master")]

    def master_of(self, key: str) -> RedisServer:
        """The master that has a key."""
        slot = int(self.masters()[0].command("CLUSTER", "KEYSLOT", key))
        for node in self.masters():
            for line in node.command("CLUSTER", "NODES").splitlines():
                if "myself" in line:
                    for part in line.split()[8:]:
                        first, _, last = part.partition("-")
                        if int(first) <= slot <= int(last or first):
                            return node
        raise AssertionError(f"no master has slot {slot}")

    def wait_until_whole(self) -> None:
        """Returns once three masters are alive and each of the nodes that are alive knows."""
        deadline = time.monotonic() + 60
        while len(self.masters()) < 3:
            assert time.monotonic() < deadline, "no replica took the place of a dead master within 60 s"
            time.sleep(0.1)
        dead = [node.port for node in self.nodes if node.process is None or node.process.poll() is not None]
        for node in self.nodes:
            if node.port in dead:
                continue
            while any(f"\n{port}\n" in node.command("CLUSTER", "SLOTS") for port in dead):
                assert time.monotonic() < deadline, "a node still names a dead one after 60 s"
                time.sleep(0.1)
            node.wait_for("CLUSTER", "INFO", "cluster_state:ok")

    def empty(self) -> None:
        for node in self.masters():
            node.command("FLUSHALL")


@pytest.fixture(scope="module")
def _one_redis_cluster_of_three(_module_redis: Callable[..., RedisServer]) -> RedisCluster:
    return RedisCluster(_module_redis)


@pytest.fixture
def three_masters(_one_redis_cluster_of_three: RedisCluster) -> RedisCluster:
    """An empty cluster of three masters, which the tests of a file share: do not harm it."""
    _one_redis_cluster_of_three.empty()
    return _one_redis_cluster_of_three


@pytest.fixture
def own_redis_cluster(start_redis: Callable[..., RedisServer]) -> RedisCluster:
    """A cluster of three masters for a test that kills some."""
    return RedisCluster(start_redis)
