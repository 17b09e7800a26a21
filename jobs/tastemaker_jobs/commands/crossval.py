"""`tastemaker-jobs crossval`: train and judge a model on K folds of the users, or of the images."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tastemaker_jobs import console, environment
from tastemaker_jobs.commands.output import write_output
from tastemaker_jobs.data.data_files import DataFiles
from tastemaker_jobs.evaluation.cross_validation import (
    Fold,
    FoldRequest,
    as_json,
    checked_folds,
    run_fold,
    spread,
)
from tastemaker_jobs.evaluation.fold_records import FoldRecords
from tastemaker_jobs.evaluation.image_folds import check_image_folds, run_image_fold
from tastemaker_jobs.evaluation.inputs import read_features
from tastemaker_jobs.job_metrics import exposed
from tastemaker_jobs.models import IMAGE_CLASSIFIERS
from tastemaker_jobs.publishing.versions import check_writable
from tastemaker_jobs.quiet import start_tensorflow
from tastemaker_jobs.reporting.render_folds import render_folds
from tastemaker_jobs.training.progress import EpochEvent, Report, StageEvent
from tastemaker_jobs.training.request import Workers

__all__ = ["crossval"]


def crossval(
    *,
    model: str,
    data: DataFiles,
    folds: int,
    seed: int,
    settings: Mapping[str, Any],
    out: Path | None,
    use_ray: bool,
    address: str | None,
    workers: Workers | None = None,
    metrics_address: str | None = None,
) -> None:
    """Per fold and over folds, the model beside the baselines.

    Args:
        model: Its name.
        data: Ratings, whole.
        folds: K, 3 or more.
        seed: Of the folds, of training and of resampling.
        settings: In place of the model's defaults.
        out: Folder for crossval.json, report.html, and finished folds, which are not run again.
        use_ray: Folds side by side as Ray tasks, or one after the other in this process.
        address: Of a running Ray cluster.
        workers: Who shares each fold's training; None: each fold is trained by one process.
        metrics_address: Where Prometheus reads how far it is.
    """
    request = FoldRequest(model, data, folds, seed, settings)
    of_images = model in IMAGE_CLASSIFIERS
    if of_images:
        check_image_folds(request)
    else:
        checked_folds(request)
        read_features(data)
    records = None
    if out is not None:
        check_writable(out)
        records = FoldRecords(out, request)
    done = records.read() if records else {}

    missing = [dataclasses.replace(request, number=number) for number in range(folds) if number not in done]
    if done:
        console.note(f"{len(done)} of {folds} folds were finished before")
    if missing:
        where = "Ray" if use_ray else "TensorFlow"
        what = "images" if of_images else "users"
        console.note(f"cross-validating {model} on {folds} folds of the {what} of {data.dataset}; starting {where}")
        one_fold = run_image_fold if of_images else run_fold
        with exposed(metrics_address, "crossval") as metrics, console.progress() as shown:
            metrics.parts("fold", len(done), folds)

            def told(event: StageEvent | EpochEvent) -> None:
                shown(event)
                metrics.told(event)

            def finished(_: FoldRequest, fold: Fold) -> None:
                done[fold.number] = fold
                metrics.parts("fold", len(done), folds)
                if records:
                    records.write(fold)

            _run(one_fold, missing, told, finished, use_ray=use_ray, address=address, workers=workers)
    ordered = [done[number] for number in range(folds)]
    for fold in ordered:
        title = f"fold {fold.number + 1} of {folds}"
        console.print_table(console.figures_table(fold.figures.items(), title=title))
    title = f"{data.dataset}, mean over {folds} folds of {'images' if of_images else 'users'}"
    console.print_table(console.spread_table(spread(ordered), title=title))
    if out is not None:
        write_output(out / "crossval.json", json.dumps(as_json(request, ordered), indent=1) + "\n")
        write_output(out / "report.html", render_folds(request, ordered))


def _run(
    one_fold: Callable[..., Fold],
    requests: Sequence[FoldRequest],
    report: Report,
    finished: Callable[[FoldRequest, Fold], None],
    *,
    use_ray: bool,
    address: str | None,
    workers: Workers | None,
) -> None:
    if use_ray:
        from tastemaker_jobs.on_ray import map_on_ray

        if workers:
            from tastemaker_jobs.on_ray_train import FoldOnWorkers
            from tastemaker_jobs.run_storage import check_storage

            check_storage(workers.storage)
            one_fold = FoldOnWorkers(one_fold, workers)
        address = address or environment.ray_address()
        map_on_ray(one_fold, requests, address=address, report=report, done=finished, workers=workers)
        return
    start_tensorflow()
    for request in requests:
        finished(request, one_fold(request, report))
