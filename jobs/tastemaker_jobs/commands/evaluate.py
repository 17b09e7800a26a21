"""`tastemaker-jobs evaluate`: judge published versions, beside popularity and each other."""

import json
from collections.abc import Sequence
from pathlib import Path

from tastemaker_jobs import console
from tastemaker_jobs.commands.fetch import ratings_file
from tastemaker_jobs.data.ratings import read_ratings, sha256_of
from tastemaker_jobs.data.vocabulary import Vocabulary
from tastemaker_jobs.errors import DataError
from tastemaker_jobs.evaluation.assessment import Assessment, as_json, assess
from tastemaker_jobs.evaluation.leakage import FittedOn, check_fitted, check_split, check_trained_on
from tastemaker_jobs.evaluation.popularity import popular_lists
from tastemaker_jobs.evaluation.protocol import PROTOCOLS, test_questions
from tastemaker_jobs.publishing.manifests import read_manifest
from tastemaker_jobs.publishing.training_records import read_training_record
from tastemaker_jobs.publishing.versions import version_folder
from tastemaker_jobs.quiet import start_tensorflow

__all__ = ["evaluate"]

_BASELINE = "popularity"


def evaluate(
    *,
    models: Sequence[str],
    ratings: Path | None,
    data_dir: Path | None,
    models_dir: Path,
    protocol: str,
    seed: int,
    out: Path | None,
) -> None:
    """Refuse what leaks, ask each SavedModel for lists, print and write their quality beside popularity's."""
    folders = _labelled([version_folder(name, models_dir=models_dir) for name in models])
    fitted = {name: FittedOn(read_manifest(folder), read_training_record(folder)) for name, folder in folders.items()}
    data = ratings_file(ratings=ratings, data_dir=data_dir)
    judged_by = PROTOCOLS[protocol]
    split = judged_by.split(read_ratings(data.path))
    check_split(split)
    digest = sha256_of(data.path)
    for name, folder in folders.items():
        check_trained_on(fitted[name], split, sha256=digest, name=name)
        check_fitted(_vocabulary(folder), split, name=name)
    console.note(f"evaluating {' and '.join(folders)} on {data.dataset}; starting TensorFlow")

    start_tensorflow()
    from tastemaker_jobs.evaluation.served import SavedModel

    questions = test_questions(split)
    popular = popular_lists(questions, Vocabulary.of(split.train.item_id).item_ids, k=judged_by.longest_list)
    lists = {_BASELINE: popular}
    for name, folder in folders.items():
        lists[name] = SavedModel(folder).lists(questions, k=judged_by.longest_list)
    assessment = assess(lists, questions=questions, split=split, protocol=judged_by, dataset=data.dataset, seed=seed)
    rows = [(judged.name, judged.figures) for judged in assessment.judged]
    title = f"{data.dataset}, {split.protocol}, unseen items of the full catalogue"
    console.print_table(console.figures_table(rows, title=title))
    if out is not None:
        _write(assessment, out)


def _write(assessment: Assessment, folder: Path) -> None:
    """metrics.json.

    Raises:
        DataError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps(as_json(assessment), indent=1) + "\n")
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}. Name another --out.") from error
    console.print_path(folder / "metrics.json")


def _labelled(folders: Sequence[Path]) -> dict[str, Path]:
    """Versions by a short name: model/version, or the whole path where two would be called alike."""
    short = [f"{folder.parent.name}/{folder.name}" for folder in folders]
    names = [name if short.count(name) == 1 else str(folder) for name, folder in zip(short, folders, strict=True)]
    return dict(zip(names, folders, strict=True))


def _vocabulary(folder: Path) -> list[str]:
    """The item ids that a version carries, in its order; none where it keeps them in some other way."""
    path = folder / "assets" / "item_ids.txt"
    return path.read_text().splitlines() if path.is_file() else []
