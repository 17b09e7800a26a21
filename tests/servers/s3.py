"""A server that speaks S3, with one empty bucket: moto, in a process of its own."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import fs

__all__ = ["s3_bucket"]

_START_SECONDS = 60


@pytest.fixture
def s3_bucket(free_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The pattern of a URI in the bucket: `s3_bucket.format("folder/of/it")`. Keys are in the environment."""
    for name, value in (("ACCESS_KEY_ID", "who"), ("SECRET_ACCESS_KEY", "let-me-in"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # else each process asks an address that is not there
    with (tmp_path / "s3.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(free_port)], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _is_open(free_port):
            assert process.poll() is None, (tmp_path / "s3.log").read_text()
            assert time.monotonic() < deadline, "the S3 server did not start"
            time.sleep(0.1)
        server = f"127.0.0.1:{free_port}"
        fs.S3FileSystem(endpoint_override=server, scheme="http", allow_bucket_creation=True).create_dir("bucket")
        yield f"s3://bucket/{{}}?endpoint_override={server}&scheme=http"
    finally:
        process.terminate()
        process.wait(30)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
