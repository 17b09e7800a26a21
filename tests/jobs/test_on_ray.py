"""Training on Ray: on a Ray of its own, with workers killed, and as a submitted job."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tastemaker_jobs.cli import main
from tastemaker_jobs.data.data_files import DataFiles
from tastemaker_jobs.errors import TastemakerJobsError, TooFewRatingsError, WorkerLostError
from tastemaker_jobs.publishing.versions import staged, versions
from tastemaker_jobs.testing.synthetic import synthetic_ratings, write_ratings
from tastemaker_jobs.training.progress import Report, StageEvent
from tastemaker_jobs.training.request import TrainingRequest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
pytest.importorskip("ray")


class WorkerKiller:
    """A listener to training that kills the worker, as often as it is told to, once it has begun."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.stages: list[str] = []

    def __call__(self, event: object) -> None:
        if not isinstance(event, StageEvent):
            return
        self.stages.append(event.stage)
        if event.stage == "training" and self.left:
            self.left -= 1
            for child in psutil.Process().children(recursive=True):
                if child.name().startswith("ray::_run"):
                    child.send_signal(signal.SIGKILL)


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """A Ray of its own, on which one run has too few ratings and the other's worker is killed once.

    Both in one start of Ray, as that takes long. Gives the listener, the error raised, and the models folder.
    """
    from tastemaker_jobs.on_ray import train_on_ray

    folder = tmp_path_factory.mktemp("two-runs")
    few = folder / "few.csv"
    few.write_text("user_id,item_id,rating,timestamp\na,1,5,1\na,2,5,2\na,3,5,3\n")
    enough = write_ratings(synthetic_ratings(seed=3), folder / "enough.csv")
    requests = [
        TrainingRequest("rnn", DataFiles(few, "few"), folder / "models" / "rnn", seed=0),
        TrainingRequest(
            "autoencoder",
            DataFiles(enough, "enough"),
            folder / "models" / "autoencoder",
            seed=0,
            settings={"epochs": 30},
        ),
    ]
    killer = WorkerKiller(1)
    with pytest.raises(TastemakerJobsError) as caught:
        train_on_ray(requests, address=None, report=killer)
    return killer, caught.value, folder / "models"


def test_lost_worker_is_replaced(two_runs):
    killer, _, models_dir = two_runs
    assert killer.stages.count("training") == 2
    assert killer.stages.count("publishing") == 1
    assert versions(models_dir / "autoencoder") == [1]


def test_error_of_a_run_comes_home_as_itself(two_runs):
    _, error, models_dir = two_runs
    assert isinstance(error, TooFewRatingsError)
    assert "longer histories" in str(error)
    assert versions(models_dir / "rnn") == []


def test_worker_lost_too_often_is_an_error_and_publishes_nothing(ratings_csv, tmp_path):
    from tastemaker_jobs.on_ray import train_on_ray

    request = TrainingRequest(
        "autoencoder",
        DataFiles(ratings_csv, "films"),
        tmp_path / "models" / "autoencoder",
        seed=0,
        settings={"epochs": 30},
    )
    with pytest.raises(WorkerLostError, match="lost 1 times"):
        train_on_ray([request], address=None, report=WorkerKiller(1), retries=0)
    model_dir = tmp_path / "models" / "autoencoder"
    assert versions(model_dir) == []
    with staged(model_dir):
        assert len(list(model_dir.glob(".publishing-*"))) == 1, "leftovers of the dead worker are still there"


@pytest.mark.parametrize(
    ("calls", "of_a_node", "of_all", "share"),
    [
        (1, 2, 2, 2),  # all of a node
        (1, 16, 64, 4),  # more gain nothing
        (2, 2, 2, 1),
        (3, 2, 2, 0.6666),  # three that share two cores, as two and then one would leave a core idle
        (5, 2, 2, 0.6666),  # three, then two
        (6, 2, 2, 1),
        (5, 2, 4, 0.8),
        (9, 8, 8, 0.8888),
        (15, 8, 8, 1),  # little gained, twice the memory
        (5, 1, 1, 1),
    ],
)
def test_calls_get_a_share_of_the_cores_that_leaves_none_idle(calls, of_a_node, of_all, share):
    from tastemaker_jobs.on_ray import share_of_cores

    assert share_of_cores(calls, of_a_node=of_a_node, of_all=of_all) == share


def test_a_call_keeps_its_core_while_it_tells_what_it_does():
    """Of a task that waits, Ray would give the core to the next one, in a process of its own."""
    from tastemaker_jobs.on_ray import map_on_ray

    def busy(number: int, report: Report) -> int:
        for _ in range(300):  # each was a chance to lose it
            report(StageEvent(f"call {number}", "busy"))
            sum(range(200_000))
        return os.getpid()

    told: list[object] = []
    cores = os.cpu_count() or 1
    found = map_on_ray(busy, range(2 * cores), address=None, report=told.append)
    assert len(set(found)) == cores, "each core's worker did two calls"
    assert {event.model for event in told} == {f"call {number}" for number in range(2 * cores)}


def test_cluster_that_is_not_there_is_named(ratings_csv, tmp_path, capsys):
    where = ["--ratings", str(ratings_csv), "--models-dir", str(tmp_path)]
    assert main(["train", "rnn", "--address", "127.0.0.1:9", *where]) == 1
    assert "error: the Ray cluster at 127.0.0.1:9 cannot be reached" in capsys.readouterr().err


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [taken.getsockname()[1] for taken in sockets]
    for taken in sockets:
        taken.close()
    return ports


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310  # an address of our own
            return True
    except urllib.error.HTTPError as error:  # without a token it may be refused, but by a server that is there
        error.close()
        return error.code in (401, 403)
    except OSError:
        return False


@contextlib.contextmanager
def ray_head(child_environment: dict[str, str]) -> Iterator[tuple[str, dict[str, str], subprocess.Popen[str]]]:
    """A Ray head with the job API on free ports; its address, the environment for commands that talk to it, itself."""
    names = ("port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port", "metrics-export-port")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets lie in it, and their paths must be short
    environment = child_environment | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), child_environment["PATH"]]),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    options = [f"--temp-dir={folder}", *(f"--{name}={port}" for name, port in ports.items())]
    log = Path(folder, "head.log")
    with log.open("w") as file:
        head = subprocess.Popen(
            ["ray", "start", "--head", "--block", "--num-cpus=2", "--include-dashboard=true", *options],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )
    address = f"http://127.0.0.1:{ports['dashboard-port']}"
    deadline = time.monotonic() + 120
    try:
        while True:
            listed = subprocess.run(
                ["ray", "job", "list", "--address", address],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if listed.returncode == 0:
                break
            assert head.poll() is None, log.read_text()
            assert time.monotonic() < deadline, listed.stderr
        yield address, environment, head
    finally:
        started = []
        if head.poll() is None:
            process = psutil.Process(head.pid)
            started = [process, *process.children(recursive=True)]
            head.terminate()
        _, alive = psutil.wait_procs(started, timeout=20)
        for process in alive:
            process.kill()
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def submitted(job: list[str], address: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A command as a job of a cluster, to its end."""
    return subprocess.run(
        ["ray", "job", "submit", "--address", address, "--", "tastemaker-jobs", *job],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_submitted_jobs_train_publish_and_precompute(child_environment, processes, ratings_csv, tmp_path):
    ratings = ["--ratings", str(ratings_csv)]
    train = ["train", "autoencoder", "--epochs", "2", *ratings, "--models-dir", str(tmp_path / "models")]
    precompute = ["precompute", "--surface", "home", "--model-dir", str(tmp_path / "models" / "autoencoder"), *ratings]
    nothing = ["train", "ease", "--ratings", str(tmp_path / "nothing.csv"), "--models-dir", str(tmp_path / "models")]
    for _ in range(2):
        with ray_head(child_environment) as (address, environment, head):
            for job in (train, [*precompute, "--k", "10", "--lists-dir", str(tmp_path / "lists")]):
                done = submitted(job, address, environment)
                if done.returncode != 0:
                    break
                if job is train:
                    trained = done.stdout
            failed = submitted(nothing, address, environment)
            if head.poll() is None:  # a head can die on a machine under heavy load; our job is what is tested here
                break
    assert done.returncode == 0, done.stdout + done.stderr
    assert "popularity" in trained
    assert failed.returncode == 1, "the status of a job that fails is its own"
    assert "nothing.csv" in failed.stdout + failed.stderr
    assert (tmp_path / "lists" / "home" / "1" / "manifest.json").exists()
    assert versions(tmp_path / "models" / "autoencoder") == [1]


def test_a_ray_that_cannot_start_is_one_line_and_not_a_traceback(tmp_path, monkeypatch, capsys):
    write_ratings(synthetic_ratings(seed=3), tmp_path / "ratings.csv")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("x" * 120)))  # too long for the path of a socket
    argv = ["train", "ease", "--ratings", f"{tmp_path}/ratings.csv", "--models-dir", f"{tmp_path}/models"]
    assert main(argv) == 1
    said = capsys.readouterr().err
    assert "error: Ray cannot be started: " in said
    assert "--no-ray" in said
    assert "Traceback" not in said
