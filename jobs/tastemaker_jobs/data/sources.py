"""The places that MovieLens 100K can be had from. Each has a time limit and says in one line why it could not."""

import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Protocol

from tastemaker_jobs.data.movielens import MovieLens, from_csv, from_grouplens, from_recbole

__all__ = ["FolderSource", "GroupLensSource", "RecBoleWheelSource", "Source", "SourceUnavailableError"]

_GROUPLENS_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
_MAX_ARCHIVE_BYTES = 64 * 1024 * 1024
_RECBOLE = "recbole==1.2.1"


class SourceUnavailableError(Exception):
    """This source has nothing to give; the message says why. Never leaves `fetching`, which then asks the next one."""


class Source(Protocol):
    """A place that MovieLens 100K can be had from."""

    @property
    def name(self) -> str:
        """What the user reads."""

    def read(self) -> MovieLens:
        """Get it.

        Raises:
            SourceUnavailableError: It cannot be had here.
            ChecksumError: Something else lies there.
        """


class FolderSource:
    """A folder on this machine that holds ml-100k/ratings.csv and ml-100k/items.csv."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "ml-100k"
        self.name = f"the folder {self.folder}"

    def read(self) -> MovieLens:
        """Read both files."""
        try:
            return from_csv((self.folder / "ratings.csv").read_bytes(), (self.folder / "items.csv").read_bytes())
        except OSError as error:
            raise SourceUnavailableError(f"{error.filename}: {error.strerror}") from error


class GroupLensSource:
    """GroupLens' own download."""

    name = "GroupLens"

    def __init__(self, *, url: str = _GROUPLENS_URL, timeout_seconds: float = 10.0) -> None:
        """Where from.

        Args:
            url: http(s) address of ml-100k.zip.
            timeout_seconds: How long the server may stay silent.
        """
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"an http or https address is needed, not {url}")
        self._url = url
        self._timeout_seconds = timeout_seconds

    def read(self) -> MovieLens:
        """Download and unpack it."""
        try:
            # S310: the scheme is checked in the constructor.
            with urllib.request.urlopen(self._url, timeout=self._timeout_seconds) as response:  # noqa: S310
                archive: bytes = response.read(_MAX_ARCHIVE_BYTES + 1)
        except OSError as error:
            raise SourceUnavailableError(f"{self._url}: {error}") from error
        if len(archive) > _MAX_ARCHIVE_BYTES:
            raise SourceUnavailableError(f"{self._url}: more than {_MAX_ARCHIVE_BYTES >> 20} MiB came")
        return from_grouplens(archive)


class RecBoleWheelSource:
    """The copy inside a wheel of RecBole, downloaded by pip as configured here. Read as a zip, never installed."""

    name = f"the example data inside the Python package {_RECBOLE}"

    def __init__(self, *, timeout_seconds: float = 300.0) -> None:
        """How long the download may take.

        Args:
            timeout_seconds: For the whole download.
        """
        self._timeout_seconds = timeout_seconds

    def read(self) -> MovieLens:
        """Download the wheel and unpack it."""
        with tempfile.TemporaryDirectory(prefix="tastemaker-wheel-") as folder:
            argv = [*_pip(), "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", folder, _RECBOLE]
            try:
                done = subprocess.run(argv, capture_output=True, text=True, timeout=self._timeout_seconds, check=False)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise SourceUnavailableError(f"pip download: {error}") from error
            wheels = sorted(Path(folder).glob("*.whl"))
            if done.returncode != 0 or not wheels:
                lines = [line for line in done.stderr.splitlines() if line.strip()]
                raise SourceUnavailableError(f"pip download: {lines[-1] if lines else f'exit {done.returncode}'}")
            return from_recbole(wheels[0].read_bytes())


def _pip() -> list[str]:
    """The command that runs pip: this interpreter's, else one run by uv (whose environments have none), else PATH's.

    Raises:
        SourceUnavailableError: There is none.
    """
    probe = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False)
    if probe.returncode == 0:
        return [sys.executable, "-m", "pip"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    if uv := shutil.which("uv", path=path):
        return [uv, "tool", "run", "--quiet", "--from", "pip", "pip"]
    if pip := shutil.which("pip", path=path):
        return [pip]
    raise SourceUnavailableError("neither pip nor uv is at hand")
