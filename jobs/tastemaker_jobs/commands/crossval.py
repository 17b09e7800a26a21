"""`tastemaker-jobs crossval`: train and judge a model on K folds of the users."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tastemaker_jobs import console
from tastemaker_jobs.data.data_files import DataFiles
from tastemaker_jobs.evaluation.cross_validation import FoldRequest, as_json, checked_folds, run_fold, spread
from tastemaker_jobs.evaluation.inputs import read_features
from tastemaker_jobs.publishing.versions import check_writable
from tastemaker_jobs.quiet import start_tensorflow

__all__ = ["crossval"]


def crossval(
    *, model: str, data: DataFiles, folds: int, seed: int, settings: Mapping[str, Any], out: Path | None
) -> None:
    """Per fold and over folds, the model beside the baselines.

    Args:
        model: Its name.
        data: Ratings, whole.
        folds: K, 3 or more.
        seed: Of the folds, of training and of resampling.
        settings: In place of the model's defaults.
        out: Folder for crossval.json.
    """
    request = FoldRequest(model, data, folds, seed, settings)
    checked_folds(request)
    read_features(data)
    if out is not None:
        check_writable(out)
    console.note(f"cross-validating {model} on {folds} folds of the users of {data.dataset}; starting TensorFlow")
    start_tensorflow()
    with console.progress() as report:
        done = [run_fold(request, number, report) for number in range(folds)]
    for fold in done:
        title = f"fold {fold.number + 1} of {folds}"
        console.print_table(console.figures_table(fold.figures.items(), title=title))
    console.print_table(console.spread_table(spread(done), title=f"{data.dataset}, mean over {folds} folds of users"))
    if out is not None:
        path = out / "crossval.json"
        path.write_text(json.dumps(as_json(request, done), indent=1) + "\n")
        console.print_path(path)
