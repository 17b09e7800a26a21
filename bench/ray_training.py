"""Training on Ray: two workers beside one, Ray beside none, folds side by side beside one by one."""

import dataclasses
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from bench.report import Result

__all__ = ["measure"]

_USERS, _ITEMS = 1500, 2000
_PER_USER = (30, 90)  # ratings: windows of L = 50 are mostly full, as those of MovieLens are
_EPOCHS = 8
_LONG_EPOCHS = 16  # what Ray costs is measured in trainings of more than a minute
_FOLDS = 5
_ROUNDS = 2
_SEED = 0
_EPOCH = re.compile(r"epoch (\d+) of at most")


def measure() -> list[Result]:
    """All of it; nothing else should run on the machine. Takes half an hour."""
    from tastemaker_jobs import environment

    environment.quiet_libraries()
    environment.keep_memory()
    environment.limit_threads(os.cpu_count() or 1)  # this process is to have the threads that a task on all cores has
    from tastemaker_jobs.data.data_files import DataFiles
    from tastemaker_jobs.testing.synthetic import synthetic_ratings, write_ratings

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ratings = synthetic_ratings(seed=_SEED, users=_USERS, items=_ITEMS, per_user=_PER_USER)
        data = DataFiles(write_ratings(ratings, folder / "ratings.csv"), "synthetic")
        return [_workers(data, folder), *_trainer(data, folder), _task(data, folder), *_folds(data)]


def _workers(data: Any, folder: Path) -> Result:
    """Seconds of the fastest epoch, of trainings in turns.

    The first epoch of each traces and does not count. The fastest, as neighbours of a machine only add time, and twice
    as often where each step waits for the slower of two workers. The medians are told beside it.
    """
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for number in range(_ROUNDS):
        for count in seconds:
            seconds[count] += _on_workers(data, folder, count, run_id=f"bench-{count}-{number}")[1:]
    fastest = {count: min(epochs) for count, epochs in seconds.items()}
    median = {count: statistics.median(epochs) for count, epochs in seconds.items()}
    ratio = fastest[1] / fastest[2]
    return Result(
        f"the fastest epoch of rnn on two workers of one core each, {_USERS:,} users with {_PER_USER[0]} to"
        f" {_PER_USER[1]} ratings, {_ITEMS:,} items, the same global batch of 128",
        f"{fastest[2]:.2f} s (median {median[2]:.2f} s)",
        f"one worker of one core: {fastest[1]:.2f} s (median {median[1]:.2f} s)",
        f"{ratio:.2f}",
        "≥ 1.6",
        ratio >= 1.6,
    )


def _on_workers(data: Any, folder: Path, count: int, *, run_id: str) -> list[float]:
    from tastemaker_jobs.on_ray_train import fit_on_workers
    from tastemaker_jobs.ray_cluster import connected
    from tastemaker_jobs.training.progress import EpochEvent
    from tastemaker_jobs.training.request import TrainingRequest, Workers
    from tastemaker_jobs.training.run import train_and_publish

    seconds = []

    def told(event: Any) -> None:
        if isinstance(event, EpochEvent):
            seconds.append(event.seconds)

    workers = Workers(count, storage=str(folder / "runs"), run_id=run_id, checkpoint_every=_EPOCHS)
    settings = {"epochs": _EPOCHS, "patience_epochs": 999, "batch_size": 128}
    request = TrainingRequest("rnn", data, folder / "models", _SEED, settings)
    with connected(None, spare_cores=1):
        train_and_publish(request, told, fit=partial(fit_on_workers, workers=workers))
    return seconds


def _trainer(data: Any, folder: Path) -> list[Result]:
    """`train --workers 1` beside `train --no-ray`: both as a user calls them, with the same threads, in turns."""
    on_ray = ["--workers", "1", "--storage", str(folder / "wrapped")]
    seconds: dict[str, list[tuple[float, float]]] = {"plain": [], "ray": []}
    for number in range(_ROUNDS):
        turns = [("plain", ["--no-ray"]), ("ray", [*on_ray, "--run-id", f"bench-{number}"])]
        for name, more in turns if number % 2 else reversed(turns):
            seconds[name].append(_command(data, folder / name, more))
    pairs = list(zip(seconds["ray"], seconds["plain"], strict=True))
    medians = {name: [statistics.median(column) for column in zip(*of, strict=True)] for name, of in seconds.items()}
    ratios = [statistics.median(ray[part] / plain[part] for ray, plain in pairs) for part in (0, 1)]
    what = f"training of rnn by Ray Train, one worker of one core, {_LONG_EPOCHS} epochs"
    return [
        Result(
            f"{what}, from the first one's end to the last one's, checkpoints included",
            f"{medians['ray'][0]:.1f} s",
            f"without Ray, the same threads: {medians['plain'][0]:.1f} s",
            f"{ratios[0]:.2f}",
            "≤ 1.05",
            ratios[0] <= 1.05 and medians["plain"][0] >= 60,
        ),
        Result(
            f"{what}, the whole command: Ray's start, reading, judging and publishing too",
            f"{medians['ray'][1]:.1f} s",
            f"without Ray: {medians['plain'][1]:.1f} s",
            f"{ratios[1]:.2f}",
            "none",
            None,
        ),
    ]


def _command(data: Any, models: Path, more: list[str]) -> tuple[float, float]:
    """Seconds from the end of the first epoch to that of the last, and of all."""
    from tastemaker_jobs import environment

    argv = [sys.executable, "-m", "tastemaker_jobs.cli", "train", "rnn", "--ratings", str(data.ratings)]
    argv += ["--models-dir", str(models), "--epochs", str(_LONG_EPOCHS), "--set", "patience_epochs=999"]
    argv += ["--set", "batch_size=128", *more]
    threads = environment.of_worker(cores=1, mixed_precision=False)
    began, ends = time.perf_counter(), []
    with subprocess.Popen(argv, env=os.environ | threads, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        said = []
        for line in process.stderr or ():
            said.append(line.decode(errors="replace"))
            if _EPOCH.search(said[-1]):
                ends.append(time.perf_counter())
    if process.returncode or len(ends) != _LONG_EPOCHS:
        raise RuntimeError(f"{' '.join(argv)} ended with {process.returncode}: {''.join(said)}")
    return ends[-1] - ends[0], time.perf_counter() - began


def _task(data: Any, folder: Path) -> Result:
    """The training itself, in turns. Ray's own start, and what comes around it (reading, judging), is not in it."""
    from tastemaker_jobs.on_ray import train_on_ray
    from tastemaker_jobs.training.request import TrainingRequest
    from tastemaker_jobs.training.run import train_and_publish

    settings = {"epochs": _LONG_EPOCHS, "patience_epochs": 999}
    request = TrainingRequest("rnn", data, folder / "task", _SEED, settings)
    plain, on_ray = [], []
    for _ in range(_ROUNDS):
        plain.append(train_and_publish(request, lambda _: None).trained.seconds)
        on_ray.append(train_on_ray([request], address=None, report=lambda _: None)[0].trained.seconds)
    ratio = statistics.median(task / here for task, here in zip(on_ray, plain, strict=True))
    return Result(
        f"training of rnn as a Ray task on all cores, {_LONG_EPOCHS} epochs",
        f"{statistics.median(on_ray):.1f} s",
        f"in this process, the same threads: {statistics.median(plain):.1f} s",
        f"{ratio:.2f}",
        "≤ 1.05",
        ratio <= 1.05,
    )


def _folds(data: Any) -> list[Result]:
    """Wall time, Ray's start included. One after another: the same tasks on a Ray that has one core."""
    from tastemaker_jobs.evaluation.cross_validation import FoldRequest, run_fold
    from tastemaker_jobs.on_ray import map_on_ray

    request = FoldRequest("rnn", data, _FOLDS, _SEED, {"epochs": 6, "patience_epochs": 99})
    folds = [dataclasses.replace(request, number=number) for number in range(_FOLDS)]

    def on_ray() -> float:
        began = time.perf_counter()
        map_on_ray(run_fold, folds, address=None, report=lambda _: None)
        return time.perf_counter() - began

    with mock.patch.object(os, "cpu_count", return_value=1):
        one_by_one = on_ray()
    side_by_side = on_ray()
    began = time.perf_counter()
    for fold in folds:
        run_fold(fold, lambda _: None)
    plain = time.perf_counter() - began
    what, measured = f"{_FOLDS} folds of rnn side by side on Ray, its start included", f"{side_by_side:.0f} s"
    ratio = one_by_one / side_by_side
    return [
        Result(
            what,
            measured,
            f"one after another, on a Ray of one core: {one_by_one:.0f} s",
            f"{ratio:.2f}",
            "≥ 1.6",
            ratio >= 1.6,
        ),
        Result(
            what,
            measured,
            f"one after another in this process, on all cores: {plain:.0f} s",
            f"{plain / side_by_side:.2f}",
            "none",
            None,
        ),
    ]
