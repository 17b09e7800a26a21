"""Training on Ray: two workers beside one, a Ray task beside this process, folds side by side beside one by one."""

import dataclasses
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from bench.report import Result

__all__ = ["measure"]

_USERS, _ITEMS = 4000, 2000
_EPOCHS = 8
_FOLDS = 5
_ROUNDS = 3
_SEED = 0


def measure() -> list[Result]:
    """All three; nothing else should run on the machine."""
    from tastemaker_jobs import environment

    environment.quiet_libraries()
    environment.limit_threads(os.cpu_count() or 1)  # this process is to have the threads that a task on all cores has
    from tastemaker_jobs.data.data_files import DataFiles
    from tastemaker_jobs.testing.synthetic import synthetic_ratings, write_ratings

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ratings = synthetic_ratings(seed=_SEED, users=_USERS, items=_ITEMS)
        data = DataFiles(write_ratings(ratings, folder / "ratings.csv"), "synthetic")
        return [_workers(data, folder), _task(data, folder), *_folds(data)]


def _workers(data: Any, folder: Path) -> Result:
    """Seconds of an epoch: the median without the first, which traces."""
    seconds = {}
    for count in (1, 2):
        epochs = _on_workers(data, folder, count)
        seconds[count] = statistics.median(epochs[1:])
    ratio = seconds[1] / seconds[2]
    return Result(
        f"an epoch of rnn on two workers of one core each, {_USERS:,} users, {_ITEMS:,} items, the same global batch",
        f"{seconds[2]:.2f} s",
        f"one worker of one core: {seconds[1]:.2f} s",
        f"{ratio:.2f}",
        "≥ 1.6",
        ratio >= 1.6,
    )


def _on_workers(data: Any, folder: Path, count: int) -> list[float]:
    from tastemaker_jobs.on_ray_train import fit_on_workers
    from tastemaker_jobs.ray_cluster import connected
    from tastemaker_jobs.training.progress import EpochEvent
    from tastemaker_jobs.training.request import TrainingRequest, Workers
    from tastemaker_jobs.training.run import train_and_publish

    seconds = []

    def told(event: Any) -> None:
        if isinstance(event, EpochEvent):
            seconds.append(event.seconds)

    workers = Workers(count, storage=str(folder / "runs"), run_id=f"bench-{count}", checkpoint_every=_EPOCHS)
    request = TrainingRequest("rnn", data, folder / "models", _SEED, {"epochs": _EPOCHS, "batch_size": 128})
    with connected(None, spare_cores=1):
        train_and_publish(request, told, fit=partial(fit_on_workers, workers=workers))
    return seconds


def _task(data: Any, folder: Path) -> Result:
    """The training itself, in turns. Ray's own start, and what comes around it (reading, judging), is not in it."""
    from tastemaker_jobs.on_ray import train_on_ray
    from tastemaker_jobs.training.request import TrainingRequest
    from tastemaker_jobs.training.run import train_and_publish

    request = TrainingRequest("rnn", data, folder / "task", _SEED, {"epochs": _EPOCHS, "patience_epochs": 99})
    plain, on_ray = [], []
    for _ in range(_ROUNDS):
        plain.append(train_and_publish(request, lambda _: None).trained.seconds)
        on_ray.append(train_on_ray([request], address=None, report=lambda _: None)[0].trained.seconds)
    ratio = statistics.median(task / here for task, here in zip(on_ray, plain, strict=True))
    return Result(
        f"training of rnn as a Ray task, {_EPOCHS} epochs",
        f"{statistics.median(on_ray):.1f} s",
        f"in this process: {statistics.median(plain):.1f} s",
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
