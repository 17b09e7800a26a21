"""`tastemaker-jobs train`: train models, as Ray tasks or in this process, and publish them."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tastemaker_jobs import console, environment
from tastemaker_jobs.data.data_files import DataFiles
from tastemaker_jobs.data.labelled_images import read_parts as read_images
from tastemaker_jobs.errors import DataError
from tastemaker_jobs.evaluation.inputs import read_features, read_split
from tastemaker_jobs.job_metrics import exposed
from tastemaker_jobs.models import IMAGE_CLASSIFIERS
from tastemaker_jobs.publishing.versions import check_writable
from tastemaker_jobs.quiet import start_tensorflow
from tastemaker_jobs.tracking import Finished, tracked
from tastemaker_jobs.training.progress import Report
from tastemaker_jobs.training.request import TrainingRequest, TrainingResult, Workers

__all__ = ["train"]


def train(
    *,
    models: Sequence[str],
    data: DataFiles,
    model_dirs: Sequence[Path],
    seed: int,
    settings: Mapping[str, Any],
    use_ray: bool,
    address: str | None,
    workers: Workers | None = None,
    tensorboard: Path | None = None,
    metrics_address: str | None = None,
) -> None:
    """Train, judge and publish. What can be found out to be wrong beforehand is, before TensorFlow or Ray start.

    Args:
        models: Names.
        data: On what.
        model_dirs: Of each model, where its versions lie.
        seed: Of each run.
        settings: In place of the models' defaults.
        use_ray: As Ray tasks, or in this process.
        address: Of a running Ray cluster.
        workers: Who shares each model's training; None: each model is trained by one process.
        tensorboard: Folder of event files.
        metrics_address: Where Prometheus reads how far it is.
    """
    classify = [name for name in models if name in IMAGE_CLASSIFIERS]
    if classify and len(classify) < len(models):
        raise DataError(f"{', '.join(classify)} and recommenders learn from different files. Train them one by one.")
    if classify:
        read_images(data)
    else:
        read_split(data)
        read_features(data)
    for folder in model_dirs:
        check_writable(folder)
    console.note(f"training {' and '.join(models)} on {data.dataset}; starting {'Ray' if use_ray else 'TensorFlow'}")
    if workers:
        console.note(f"run {workers.run_id}: if it is cut off, go on with --run-id {workers.run_id}")
    requests = [
        TrainingRequest(name, data, folder, seed, settings) for name, folder in zip(models, model_dirs, strict=True)
    ]

    def run(report: Report, finished: Finished) -> list[TrainingResult]:
        if use_ray and not workers:
            from tastemaker_jobs.on_ray import train_on_ray

            cluster = address or environment.ray_address()
            return train_on_ray(requests, address=cluster, report=report, done=lambda _, result: finished(result))
        train_all = functools.partial(_on_workers, workers, address) if workers else _here
        return train_all(requests, report, finished)

    mlflow_uri = environment.mlflow_uri()
    with (
        exposed(metrics_address, "train") as metrics,
        console.progress() as shown,
        tracked(shown, requests, tensorboard=tensorboard, mlflow_uri=mlflow_uri, metrics=metrics) as (report, finished),
    ):
        results = run(report, finished)
    rows = [*results[0].baselines.items(), *((result.model, result.figures) for result in results)]
    judged_by = data.protocol or "on the validation events, which flatters; `evaluate` with test events does not"
    title = f"{data.dataset}, {judged_by}, unseen items of the full catalogue"
    if classify:
        title = f"{data.dataset}, on the held-out images that chose the epoch; `evaluate` with test images is stricter"
    console.print_table(console.figures_table(rows, title=title))
    for result in results:
        trained = result.trained
        how = f"{trained.epochs} epochs in {trained.seconds:.0f} s, the best was epoch {trained.best_epoch}"
        console.note(f"{result.model}: {how}; published as")
        console.print_path(result.version_dir)


def _here(requests: Sequence[TrainingRequest], report: Report, finished: Finished) -> list[TrainingResult]:
    start_tensorflow()
    from tastemaker_jobs.training.run import train_and_publish

    return _one_by_one(requests, lambda request: train_and_publish(request, report), finished)


def _on_workers(
    workers: Workers,
    address: str | None,
    requests: Sequence[TrainingRequest],
    report: Report,
    finished: Finished,
) -> list[TrainingResult]:
    start_tensorflow()
    from tastemaker_jobs.on_ray_train import fit_on_workers
    from tastemaker_jobs.ray_cluster import connected
    from tastemaker_jobs.run_storage import check_storage
    from tastemaker_jobs.training.run import train_and_publish

    check_storage(workers.storage)
    with connected(address or environment.ray_address(), spare_cores=1):
        fit = functools.partial(fit_on_workers, workers=workers)
        return _one_by_one(requests, lambda request: train_and_publish(request, report, fit=fit), finished)


def _one_by_one(
    requests: Sequence[TrainingRequest],
    one: Callable[[TrainingRequest], TrainingResult],
    finished: Finished,
) -> list[TrainingResult]:
    results = []
    for request in requests:
        results.append(one(request))
        finished(results[-1])
    return results
