"""Starts the processes that are measured, on free ports, and ends them."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc

__all__ = ["echo_server", "free_port", "front", "modelserver"]

_BIN = Path(sys.executable).parent
_START_SECONDS = 60
_CONNECT = [("grpc.max_reconnect_backoff_ms", 200)]


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _running(arguments: list[str | Path], address: str) -> Iterator[str]:
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as process:
        try:
            with grpc.insecure_channel(address, _CONNECT) as channel:
                grpc.channel_ready_future(channel).result(_START_SECONDS)
            yield address
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
def modelserver(models: Path, name: str) -> Iterator[str]:
    """A model server with one model; yields its address."""
    port = free_port()
    arguments = [f"--port={port}", f"--model_name={name}", f"--model_base_path={models / name}"]
    with _running([_BIN / "tastemaker-modelserver", *arguments], f"127.0.0.1:{port}") as address:
        yield address
