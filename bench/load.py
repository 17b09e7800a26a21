"""Loads a gRPC server from C, with h2load, so that the load does not compete in Python."""

import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["h2load_is_there", "requests_per_second"]

_CONNECTIONS = 16
_STREAMS = 4
_RATE = re.compile(r"finished in [\d.]+m?s, ([\d.]+) req/s")
_DONE = re.compile(r"requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded")


def h2load_is_there() -> bool:
    """Whether h2load is installed (Debian: nghttp2-client)."""
    return shutil.which("h2load") is not None


def requests_per_second(address: str, method: str, request: Any, count: int) -> float:
    """Sends `count` equal calls to 127.0.0.1 over 16 connections with 4 calls in flight on each.

    Args:
        address: host:port.
        method: The full path, `/package.Service/Method`.
        request: The request message.
        count: How many calls.

    Raises:
        RuntimeError: Not every call came back with HTTP status 200.
    """
    payload = request.SerializeToString()
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder) / "body.bin"
        body.write_bytes(b"\0" + struct.pack(">I", len(payload)) + payload)
        run = subprocess.run(
            [
                *("h2load", f"-n{count}", f"-c{_CONNECTIONS}", f"-m{_STREAMS}", "-d", body),
                *("-H", "te: trailers", "-H", "content-type: application/grpc", f"http://{address}{method}"),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    rate, done = _RATE.search(run.stdout), _DONE.search(run.stdout)
    if rate is None or done is None or int(done.group(1)) != count:
        raise RuntimeError(f"h2load did not finish {count} calls:\n{run.stdout}{run.stderr}")
    return float(rate.group(1))
