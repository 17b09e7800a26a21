"""A CA and a certificate of 127.0.0.1 for tests, made by the openssl program."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["Certificates", "certificates"]


@dataclass(frozen=True)
class Certificates:
    """Files in PEM."""

    ca: Path
    other_ca: Path
    """One that has signed nothing."""
    certificate: Path
    """Of 127.0.0.1, not of localhost."""
    key: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """New ones, for an hour or a day."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=30)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1")
    for name in ("ca", "other"):
        openssl("req", "-x509", *new_key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1")
    openssl("req", "-x509", *new_key, *signed, "-subj", "/CN=server", "-keyout", "server.key", "-out", "server.pem",
            "-addext", "basicConstraints=critical,CA:FALSE")  # fmt: skip
    return Certificates(folder / "ca.pem", folder / "other.pem", folder / "server.pem", folder / "server.key")
