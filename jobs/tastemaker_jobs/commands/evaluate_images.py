"""`tastemaker-jobs evaluate` for models that classify images: accuracy, classes, what is taken for what."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tastemaker_jobs import console
from tastemaker_jobs.commands.output import write_output
from tastemaker_jobs.data.data_files import DataFiles
from tastemaker_jobs.data.labelled_images import images_fingerprint, read_labelled_images, read_parts
from tastemaker_jobs.errors import DataError, LeakageError
from tastemaker_jobs.evaluation.classification import Classified, judge_labels
from tastemaker_jobs.publishing.manifests import read_manifest
from tastemaker_jobs.publishing.training_records import trained_fingerprint
from tastemaker_jobs.quiet import start_tensorflow
from tastemaker_jobs.reporting.render_images import render_images

__all__ = ["evaluate_images"]


def evaluate_images(
    folders: Mapping[str, Path],
    *,
    train: DataFiles,
    test: Path | None,
    seed: int,
    out: Path | None,
    report: Path | None,
) -> None:
    """Refuse what leaks, ask each SavedModel, print and write its accuracy beside that of the most frequent label.

    Args:
        folders: Versions by name.
        train: What the models were trained on.
        test: Labelled images to judge by.
        seed: Of resampling.
        out: Folder for metrics.json and report.html.
        report: File for the report alone.
    """
    if test is None:
        raise DataError(
            "Give the labelled images that the model was trained on, --train, and others to judge by, --test."
        )
    learnt, valid = read_parts(train)
    wanted = read_labelled_images(test)
    if leaks := sorted({*learnt.ids, *valid.ids} & set(wanted.ids)):
        shown = [f"id {name!r}" for name in leaks[:10]]
        raise LeakageError(f"{test}", shown, f"{len(leaks)} test images are in {train.ratings} too. Leave them out.")
    given = images_fingerprint(learnt)
    for name, folder in folders.items():
        if trained_fingerprint(folder) != given:
            window = read_manifest(folder).data_window
            what = f"trained on {window.event_count} images of {window.dataset}, which are not the {len(learnt)} here"
            raise LeakageError(name, [what], "Give the files that it was trained with, --valid too if there was one.")
    console.note(f"evaluating {' and '.join(folders)} on {wanted.path.stem}; starting TensorFlow")
    start_tensorflow()
    from tastemaker_jobs.evaluation.classifier import ServedClassifier

    most = Counter(learnt.labels).most_common(1)[0][0]
    judged = [judge_labels("most frequent label", [most] * len(wanted), wanted.labels, seed=seed)]
    for name, folder in folders.items():
        answers = ServedClassifier(folder).labels(wanted.images)
        judged.append(judge_labels(name, answers, wanted.labels, seed=seed))
    rows = [(found.name, [found.accuracy]) for found in judged]
    console.print_table(console.figures_table(rows, title=f"{wanted.path.stem}, {len(wanted)} images"))
    if out:
        content = {"dataset": wanted.path.stem, "images": len(wanted), "models": {f.name: _as_json(f) for f in judged}}
        write_output(out / "metrics.json", json.dumps(content, indent=1) + "\n")
    for path in [path for path in (out / "report.html" if out else None, report) if path]:
        write_output(path, render_images(judged, dataset=wanted.path.stem))


def _as_json(judged: Classified) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return None if math.isnan(value) else value

    classes = [
        {
            "label": found.label,
            "count": found.count,
            "recall": number(found.recall),
            "precision": number(found.precision),
        }
        for found in judged.classes
    ]
    confusion = {"labels": judged.labels, "counts": judged.confusion}
    return {"accuracy": asdict(judged.accuracy), "classes": classes, "confusion": confusion}
