"""Fixtures for every test: a clean environment, free ports, and real front processes."""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.servers.name_server import name_server
from tests.servers.postgres import own_postgres, postgres_server, postgres_url
from tests.servers.redis import (
    _module_redis,
    _one_redis,
    _one_redis_cluster,
    _one_redis_cluster_of_three,
    own_redis_cluster,
    redis,
    redis_cluster,
    start_redis,
    three_masters,
)
from tests.servers.s3 import s3_bucket

__all__ = [
    "_module_redis",
    "_one_redis",
    "_one_redis_cluster",
    "_one_redis_cluster_of_three",
    "name_server",
    "own_postgres",
    "own_redis_cluster",
    "postgres_server",
    "postgres_url",
    "redis",
    "redis_cluster",
    "s3_bucket",
    "start_redis",
    "three_masters",
]

_START_SECONDS = 20

# As the jobs set it; here, because whichever test imports TensorFlow first would decide for all.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# Ray's workers give way to every other process; on a busy machine a test would wait for minutes.
os.environ.setdefault("RAY_worker_niceness", "0")


def _wait_for_what_ray_killed() -> None:
    """Ray waits one second for a process of its own that it killed, and then drops it; a busy machine takes longer.

    Python warns of a process that is dropped before its end was seen, which would fail the test that runs just then.
    One that nobody killed still fails it.
    """
    drop = subprocess.Popen.__del__

    def wait_and_drop(process: subprocess.Popen[str]) -> None:
        if type(process).__name__ == "ConsolePopen" and process.returncode is None:  # by name, as Ray may not be there
            process.wait(timeout=30)
        drop(process)

    pytest.MonkeyPatch().setattr(subprocess.Popen, "__del__", wait_and_drop)


_wait_for_what_ray_killed()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's own shell reaches a test."""
    for name in list(os.environ):
        if name.startswith("TASTEMAKER_") and name != "TASTEMAKER_DATA_DIR":
            monkeypatch.delenv(name)


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class FrontProcess:
    """A running `tastemaker-server`."""

    process: subprocess.Popen[str]
    data_dir: Path
    address: str = ""
    log: list[str] = field(default_factory=list)
    """Its lines on stderr so far."""
    reader: threading.Thread = field(default_factory=threading.Thread)
    """Fills `log`; ends when stderr is closed."""

    def kill(self) -> None:
        """Kill -9, and waits for the end."""
        self.process.kill()
        self.process.wait(10)

    def terminate(self) -> int:
        """SIGTERM; waits and returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture
def start_front(tmp_path: Path) -> Iterator[Callable[..., FrontProcess]]:
    """Starts fronts on free ports: `start_front(toml="", data_dir=None, server="")`.

    The configuration has `[server]` (with the lines of `server` added), no model server behind it (a port that nobody
    listens on) and the surface `home`; `toml` is appended, and replaces the last two where it has its own.
    """
    started: list[FrontProcess] = []

    def start(toml: str = "", *, data_dir: Path | None = None, server: str = "") -> FrontProcess:
        data_dir = data_dir or tmp_path / "front"
        config = f'[server]\naddress = "127.0.0.1:0"\ndata_dir = "{data_dir}"\n{server}\n'
        if "[model_server]" not in toml:
            config += '[model_server]\naddress = "127.0.0.1:9"\n'
        if "[surfaces." not in toml:
            config += '[surfaces.home]\nmodel = "rnn"\n'
        config_file = tmp_path / f"front-{len(started)}.toml"
        config_file.write_text(config + toml)
        process = subprocess.Popen(
            [sys.executable, "-m", "tastemaker_server.main", "--config", str(config_file)],
            stderr=subprocess.PIPE,
            text=True,
        )
        front = FrontProcess(process, data_dir)
        started.append(front)
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

        def read() -> None:
            assert process.stderr is not None
            for line in process.stderr:
                front.log.append(line)
                lines.put(line)
            lines.put(None)
            process.stderr.close()

        front.reader = threading.Thread(target=read, daemon=True)
        front.reader.start()
        while not front.address:
            line = lines.get(timeout=_START_SECONDS)
            assert line is not None, "the front ended: " + "".join(front.log)
            if "serving on " in line:
                front.address = line.partition("serving on ")[2].partition(";")[0]
        return front

    yield start
    for front in started:
        if front.process.poll() is None:
            front.kill()
