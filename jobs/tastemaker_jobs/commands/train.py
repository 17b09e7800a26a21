"""`tastemaker-jobs train`: train models, as Ray tasks or in this process, and publish them."""

from collections.abc import Sequence
from pathlib import Path

from tastemaker_jobs import console, environment
from tastemaker_jobs.commands.fetch import ratings_file
from tastemaker_jobs.data.ratings import read_ratings
from tastemaker_jobs.publishing.versions import check_writable
from tastemaker_jobs.quiet import start_tensorflow
from tastemaker_jobs.training.progress import Report
from tastemaker_jobs.training.request import TrainingRequest, TrainingResult

__all__ = ["train"]


def train(
    *,
    models: Sequence[str],
    ratings: Path | None,
    data_dir: Path | None,
    models_dir: Path,
    protocol: str,
    seed: int,
    epochs: int | None,
    use_ray: bool,
    address: str | None,
) -> None:
    """Train, judge and publish. What can be found out to be wrong beforehand is, before TensorFlow or Ray start."""
    models_dir = models_dir.resolve()
    data = ratings_file(ratings=ratings, data_dir=data_dir)
    read_ratings(data.path)
    for name in models:
        check_writable(models_dir / name)
    console.note(f"training {' and '.join(models)} on {data.dataset}; starting {'Ray' if use_ray else 'TensorFlow'}")

    requests = [TrainingRequest(name, data.path, data.dataset, models_dir, seed, epochs, protocol) for name in models]

    def run(report: Report) -> list[TrainingResult]:
        if not use_ray:
            start_tensorflow()
            from tastemaker_jobs.training.run import train_and_publish

            return [train_and_publish(request, report) for request in requests]
        from tastemaker_jobs.on_ray import train_on_ray

        return train_on_ray(requests, address=address or environment.ray_address(), report=report)

    with console.progress() as report:
        results = run(report)
    rows = [("popularity", results[0].popularity), *((result.model, result.figures) for result in results)]
    console.print_table(
        console.figures_table(rows, title=f"{data.dataset}, {protocol}, unseen items of the full catalogue")
    )
    for result in results:
        trained = result.trained
        how = f"{trained.epochs} epochs in {trained.seconds:.0f} s, the best was epoch {trained.best_epoch}"
        console.note(f"{result.model}: {how}; published as")
        console.print_path(result.version_dir)
