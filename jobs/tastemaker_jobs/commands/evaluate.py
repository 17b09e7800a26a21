"""`tastemaker-jobs evaluate`: judge published versions, beside popularity and each other."""

import json
from collections.abc import Sequence
from pathlib import Path

from tastemaker_jobs import console
from tastemaker_jobs.commands.fetch import ratings_file
from tastemaker_jobs.data.ratings import read_ratings, sha256_of
from tastemaker_jobs.data.vocabulary import Vocabulary
from tastemaker_jobs.errors import DataError
from tastemaker_jobs.evaluation.assessment import as_json, assess
from tastemaker_jobs.evaluation.leakage import FittedOn, check_fitted, check_split, check_trained_on
from tastemaker_jobs.evaluation.popularity import popular_lists
from tastemaker_jobs.evaluation.protocol import PROTOCOLS, test_questions
from tastemaker_jobs.publishing.manifests import read_manifest
from tastemaker_jobs.publishing.training_records import read_training_record
from tastemaker_jobs.publishing.versions import version_folder
from tastemaker_jobs.quiet import start_tensorflow
from tastemaker_jobs.reporting.catalogue import Catalogue
from tastemaker_jobs.reporting.render import render_report

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
    report: Path | None,
    items: Path | None,
    images: Path | None,
) -> None:
    """Refuse what leaks, ask each SavedModel for lists, print and write their quality beside popularity's."""
    folders = _labelled([version_folder(name, models_dir=models_dir) for name in models])
    fitted = {name: FittedOn(read_manifest(folder), read_training_record(folder)) for name, folder in folders.items()}
    data = ratings_file(ratings=ratings, data_dir=data_dir)
    catalogue = Catalogue.read(items or data.items, images or data.images)
    judged_by = PROTOCOLS[protocol]
    split = judged_by.split(read_ratings(data.path))
    check_split(split)
    digest = sha256_of(data.path)
    for name, folder in folders.items():
        check_trained_on(fitted[name], split, sha256=digest, name=name)
        # Models that look at the items themselves know those of the list of items, touched or not.
        knows_all = "embed_items" in fitted[name].manifest.signatures
        listed = frozenset(catalogue.titles) if knows_all else frozenset()
        check_fitted(_vocabulary(folder), split, name=name, catalogue=listed)
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
    pages = [path for path in (out / "report.html" if out else None, report) if path]
    if out:
        _write(out / "metrics.json", json.dumps(as_json(assessment), indent=1) + "\n")
    if pages:
        epochs = {name: of_model.record.epochs for name, of_model in fitted.items() if of_model.record}
        page = render_report(assessment, lists, epochs=epochs, catalogue=catalogue)
        for path in pages:
            _write(path, page)


def _write(path: Path, text: str) -> None:
    """Write a file and print where it lies.

    Raises:
        DataError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}. Name another place.") from error
    console.print_path(path)


def _labelled(folders: Sequence[Path]) -> dict[str, Path]:
    """Versions by a short name: model/version, with as much of the path before it as tells two apart."""
    distinct = list(dict.fromkeys(folder.resolve() for folder in folders))
    labels = {}
    for folder in distinct:
        length = next(
            length
            for length in range(2, len(folder.parts) + 1)
            if [other.parts[-length:] for other in distinct].count(folder.parts[-length:]) == 1
        )
        labels["/".join(folder.parts[-length:])] = folder
    return labels


def _vocabulary(folder: Path) -> list[str]:
    """The item ids that a version carries, in its order; none where it keeps them in some other way."""
    path = folder / "assets" / "item_ids.txt"
    return path.read_text().splitlines() if path.is_file() else []
