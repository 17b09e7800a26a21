"""The front and the model server as processes: started, waited for, killed, left running, and ended, each by its id."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from tastemaker_client import Client, HealthStatus, TastemakerError

__all__ = ["ProcessError", "Services", "free_port", "stop_left_running"]

_BIN = Path(sys.executable).parent
_START_SECONDS = 90
_STOP_SECONDS = 20
_MODELS = ("model/rnn", "model/autoencoder")
_PIDS = "pids.json"


class ProcessError(Exception):
    """A process did not do what it should; the message has the end of its log."""


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Services:
    """One front and one model server, with their files under one folder."""

    def __init__(self, *, folder: Path, models_dir: Path, front_port: int, modelserver_port: int) -> None:
        """Nothing is started yet.

        Args:
            folder: For configuration, logs and the front's stores.
            models_dir: Where published models lie.
            front_port: The front's port.
            modelserver_port: The model server's.
        """
        self.address = f"127.0.0.1:{front_port}"
        self.folder = folder
        self.models_dir = models_dir
        self._front_port = front_port
        self._modelserver_port = modelserver_port
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start_modelserver(self) -> None:
        """Starts `tastemaker-modelserver` with both models, by the same flags that TensorFlow Serving has."""
        self._require_free_port(self._modelserver_port)
        config = "\n".join(
            f'  config {{ name: "{name}" base_path: "{self.models_dir / name}" model_platform: "tensorflow" }}'
            for name in ("rnn", "autoencoder")
        )
        path = self.folder / "models.config"
        path.write_text(f"model_config_list {{\n{config}\n}}\n")
        self._start("tastemaker-modelserver", f"--port={self._modelserver_port}", f"--model_config_file={path}")

    def start_front(self) -> None:
        """Starts `tastemaker-server` with the surfaces `home` (rnn) and `discover` (autoencoder)."""
        self._require_free_port(self._front_port)
        path = self.folder / "front.toml"
        path.write_text(
            f'[server]\naddress = "{self.address}"\ndata_dir = "{self.folder / "front"}"\n\n'
            f'[model_server]\naddress = "127.0.0.1:{self._modelserver_port}"\n\n'
            '[surfaces.home]\nmodel = "rnn"\n\n[surfaces.discover]\nmodel = "autoencoder"\n'
        )
        self._start("tastemaker-server", "--config", str(path))

    def wait_until_serving(self) -> None:
        """Returns when the front and both models behind it are SERVING."""
        self._wait_for_health(["", *_MODELS], HealthStatus.SERVING)

    def restart_modelserver(self) -> None:
        """Starts the model server after a kill, once the front has noticed that it is gone; returns when it is back."""
        self._wait_for_health(_MODELS, HealthStatus.NOT_SERVING)
        self.start_modelserver()
        self.wait_until_serving()

    def kill_modelserver(self) -> None:
        """Ends the model server by kill -9."""
        self._kill("tastemaker-modelserver")

    def kill_front(self) -> None:
        """Ends the front by kill -9."""
        self._kill("tastemaker-server")

    def leave_running(self) -> None:
        """Lets the processes outlive this one; `stop_left_running` finds them."""
        pids = {
            name: [process.pid, psutil.Process(process.pid).create_time()] for name, process in self._running.items()
        }
        (self.folder / _PIDS).write_text(json.dumps(pids))

    def stop(self) -> dict[str, int]:
        """Ends each that runs by SIGTERM, and waits. Returns their exit statuses."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for name, process in self._running.items():
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                print(f"{name} did not end within {_STOP_SECONDS} s and was killed", file=sys.stderr)
        statuses = {name: process.returncode for name, process in self._running.items()}
        self._running.clear()
        return statuses

    def _kill(self, command: str) -> None:
        process = self._running.pop(command)
        process.kill()
        process.wait()

    def _wait_for_health(self, components: Sequence[str], status: HealthStatus) -> None:
        deadline = time.monotonic() + _START_SECONDS
        waiting = list(components)
        with Client(self.address, options={"grpc.max_reconnect_backoff_ms": 500}) as client:
            while waiting:
                self._require_alive()
                if time.monotonic() > deadline:
                    raise ProcessError(f"not {status} after {_START_SECONDS} s: {waiting}; logs are in {self.folder}")
                with contextlib.suppress(TastemakerError):
                    while waiting and client.health(waiting[0]) is status:
                        waiting.pop(0)
                time.sleep(0.2)

    def _start(self, command: str, *arguments: str) -> None:
        with (self.folder / f"{command}.log").open("ab") as log:
            self._running[command] = subprocess.Popen(
                [_BIN / command, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

    def _require_alive(self) -> None:
        for name, process in self._running.items():
            if process.poll() is not None:
                log = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-10:]
                raise ProcessError("\n".join([f"{name} ended with status {process.returncode}:", *log]))

    @staticmethod
    def _require_free_port(port: int) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise ProcessError(f"port {port} is taken; end what listens on it and try again") from error


def stop_left_running(folder: Path) -> list[str]:
    """Ends what `leave_running` left and returns the names. The start time is compared too: ids are used again."""
    path = folder / _PIDS
    if not path.exists():
        return []
    ended = []
    for name, (pid, create_time) in json.loads(path.read_text()).items():
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.create_time() == create_time:
                process.terminate()
                try:
                    process.wait(_STOP_SECONDS)
                except psutil.TimeoutExpired:
                    process.kill()
                ended.append(name)
    path.unlink()
    return ended
