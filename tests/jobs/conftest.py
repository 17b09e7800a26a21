"""What the tests of the jobs share."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.jobs.precomputing import event_rows, two_versions
from tests.servers.prometheus import Scrape, scrape

from tastemaker_jobs import environment
from tastemaker_jobs.cli import main
from tastemaker_jobs.commands.fetch import obtain
from tastemaker_jobs.data.fetching import Dataset
from tastemaker_jobs.errors import DatasetUnavailableError
from tastemaker_jobs.job_metrics import JobMetrics
from tastemaker_jobs.testing.synthetic import synthetic_ratings, write_ratings

__all__ = ["event_rows", "two_versions"]

environment.quiet_libraries()  # before any test imports TensorFlow


@pytest.fixture(scope="session")
def ml_100k() -> Dataset:
    """MovieLens 100K from wherever it can be had, kept in the user's own cache."""
    try:
        return obtain(data_dir=None)
    except DatasetUnavailableError as error:
        pytest.skip(f"needs MovieLens 100K: {error}")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of its own, and no data folder in the environment."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TASTEMAKER_DATA_DIR", raising=False)
    return tmp_path / "cache" / "tastemaker"


@pytest.fixture
def ratings_csv(tmp_path: Path) -> Path:
    """A small ratings file."""
    return write_ratings(synthetic_ratings(seed=3), tmp_path / "ratings.csv")


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Put a process here, and it is ended with the test."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()


@pytest.fixture
def child_environment() -> dict[str, str]:
    """For child processes: this one's environment without what changes where Ray or the data come from."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TASTEMAKER_"))}


@pytest.fixture
def scraped_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, list[str]], list[Scrape]]:
    """Runs a command, and scrapes it over HTTP right after each call of a listener, while it goes on."""

    def run(url: str, listener: str, argv: list[str]) -> list[Scrape]:
        seen: list[Scrape] = []
        listens = getattr(JobMetrics, listener)

        def listen_and_scrape(self: JobMetrics, *given: Any) -> None:
            listens(self, *given)
            seen.append(scrape(url))

        monkeypatch.setattr(JobMetrics, listener, listen_and_scrape)
        assert main(argv) == 0
        return seen

    return run
