"""How long the model server takes from its start until its model is AVAILABLE, beside TensorFlow's own import."""

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.processes import free_port
from bench.report import Result

__all__ = ["measure_start"]

_ROUNDS = 5
_START_SECONDS = 120


def measure_start(base: Path) -> Result:
    """Starts the server and imports TensorFlow in turn.

    Args:
        base: The base path of `gru`, with warm-up requests.
    """
    ours, bare = [], []
    for _ in range(_ROUNDS):  # the servers measured before have filled the file cache
        ours.append(_start_seconds(base))
        bare.append(_import_seconds())
    more = statistics.median(one - other for one, other in zip(ours, bare, strict=True))
    return Result(
        "from the start to AVAILABLE (keras GRU, with warm-up)",
        f"{statistics.median(ours):.2f} s",
        f"`import tensorflow` alone: {statistics.median(bare):.2f} s",
        f"{more:+.2f} s",
        "≤ +2 s",
        more <= 2,
    )


def _start_seconds(base: Path) -> float:
    """The ports open when the model is AVAILABLE, not before."""
    port = free_port()
    program = Path(sys.executable).parent / "tastemaker-modelserver"
    command = [str(program), f"--port={port}", "--model_name=gru", f"--model_base_path={base}"]
    began = time.monotonic()
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while time.monotonic() - began < _START_SECONDS:
                with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                    return time.monotonic() - began
                time.sleep(0.01)
            raise RuntimeError(f"the model server did not open its port within {_START_SECONDS} s")
        finally:
            process.terminate()
            process.wait(30)


def _import_seconds() -> float:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import tensorflow"], env=environment, stderr=subprocess.DEVNULL, check=True)
    return time.monotonic() - began
