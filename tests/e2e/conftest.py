"""One trained pair of models and one ratings file for all end-to-end tests."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from demo.processes import Services, free_port

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Trained:
    """What the jobs made."""

    ratings_csv: Path
    models_dir: Path
    output: str
    """What `tastemaker-jobs train` printed."""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Both models, trained for two epochs on MovieLens 100K as a Ray job, as a user would."""
    folder = tmp_path_factory.mktemp("trained")
    fetch = subprocess.run(
        [BIN / "tastemaker-jobs", "fetch", "ml-100k"], stdout=subprocess.PIPE, text=True, timeout=300
    )
    if fetch.returncode != 0:
        pytest.skip("MovieLens 100K is neither here nor to be had; the message is above")
    ratings_csv = Path(fetch.stdout.strip().splitlines()[-1]) / "ratings.csv"
    train = subprocess.run(
        [BIN / "tastemaker-jobs", "train", "rnn", "autoencoder", "--epochs", "2", "--models-dir", folder / "models"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=600,
        env=dict(os.environ, COLUMNS="100"),
    )
    return Trained(ratings_csv, folder / "models", train.stdout)


@pytest.fixture(scope="module")
def services(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A front and a model server that serve the trained models; the front has seen every rating."""
    folder = tmp_path_factory.mktemp("services")
    running = Services(
        folder=folder, models_dir=trained.models_dir, front_port=free_port(), modelserver_port=free_port()
    )
    try:
        running.start_modelserver()
        running.start_front()
        running.wait_until_serving()
        imported = subprocess.run(
            [BIN / "tastemaker", "import-events", trained.ratings_csv, "--address", running.address],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert imported.returncode == 0, imported.stderr
        assert "100,000 accepted" in imported.stdout
        yield running
    finally:
        running.stop()
