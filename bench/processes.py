"""Starts the processes that are measured, on free ports, and ends them."""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc

__all__ = ["Modelserver", "echo_server", "free_port", "front", "modelserver", "redis_server"]

_BIN = Path(sys.executable).parent
_START_SECONDS = 60
_CONNECT = [("grpc.max_reconnect_backoff_ms", 200)]


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Modelserver:
    """A running model server."""

    address: str
    """host:port of its gRPC."""
    pid: int
    """Its process."""


@contextlib.contextmanager
def _running(arguments: list[str | Path], address: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as process:
        try:
            with grpc.insecure_channel(address, _CONNECT) as channel:
                grpc.channel_ready_future(channel).result(_START_SECONDS)
            yield process
        finally:
            process.terminate()
            process.wait(30)


@contextlib.contextmanager
def front(folder: Path, toml: str, *, data_dir: Path) -> Iterator[str]:
    """A front with the given settings besides its address and data_dir; yields its address."""
    address = f"127.0.0.1:{free_port()}"
    config = folder / "front.toml"
    config.write_text(f'[server]\naddress = "{address}"\ndata_dir = "{data_dir}"\n{toml}')
    with _running([_BIN / "tastemaker-server", "--config", config], address):
        yield address


@contextlib.contextmanager
def echo_server(folder: Path, method: str, response: bytes) -> Iterator[str]:
    """A bare grpc.aio server that answers `method` with one response message; yields its address."""
    address = f"127.0.0.1:{free_port()}"
    message = folder / "response.bin"
    message.write_bytes(response)
    with _running([sys.executable, "-m", "bench.echo_server", address, method, message], address):
        yield address


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """An empty redis-server (Debian: redis-server) that keeps nothing on disk; yields its URL."""
    if shutil.which("redis-server") is None:
        raise RuntimeError("redis-server is not installed; install it (Debian: redis-server)")
    port = free_port()
    arguments = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + _START_SECONDS
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


@contextlib.contextmanager
def modelserver(base: Path, name: str, *flags: str) -> Iterator[Modelserver]:
    """A model server with one model, whose versions lie under `base`."""
    port = free_port()
    arguments = [f"--port={port}", f"--model_name={name}", f"--model_base_path={base}", *flags]
    address = f"127.0.0.1:{port}"
    with _running([_BIN / "tastemaker-modelserver", *arguments], address) as process:
        yield Modelserver(address, process.pid)
