"""`tastemaker-jobs evaluate`: judge published versions, beside baselines and each other."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tastemaker_jobs import console
from tastemaker_jobs.commands.evaluate_images import evaluate_images
from tastemaker_jobs.commands.output import write_output
from tastemaker_jobs.data.data_files import DataFiles
from tastemaker_jobs.data.given_split import given_split
from tastemaker_jobs.data.ratings import read_ratings, sha256_of
from tastemaker_jobs.data.splits import Split
from tastemaker_jobs.errors import DataError, TooFewRatingsError
from tastemaker_jobs.evaluation.assessment import as_json, assess
from tastemaker_jobs.evaluation.cold_items import judge_among_cold
from tastemaker_jobs.evaluation.inputs import read_features, read_split
from tastemaker_jobs.evaluation.leakage import FittedOn, check_fitted, check_split, check_trained_on
from tastemaker_jobs.evaluation.protocol import COLD_ITEMS, PROTOCOLS, test_questions
from tastemaker_jobs.models import IMAGE_CLASSIFIERS
from tastemaker_jobs.publishing.manifests import read_manifest
from tastemaker_jobs.publishing.training_records import read_training_record
from tastemaker_jobs.quiet import start_tensorflow
from tastemaker_jobs.reporting.catalogue import Catalogue
from tastemaker_jobs.reporting.render import render_report

__all__ = ["evaluate"]


def evaluate(
    *,
    folders: Sequence[Path],
    data: DataFiles,
    protocol: str,
    test: Path | None,
    fold_in: Path | None,
    seed: int,
    out: Path | None,
    report: Path | None,
) -> None:
    """Refuse what leaks, ask each SavedModel for lists, print and write their quality beside the baselines'.

    Args:
        folders: Of versions.
        data: What the models were trained on: ratings to be split, or files of their own.
        protocol: How they are, or were, split.
        test: To judge by, where the parts are files of their own.
        fold_in: What is known of users not trained on, likewise.
        seed: Of resampling, and of baselines.
        out: Folder for metrics.json and report.html.
        report: File for the report alone.
    """
    labelled = _labelled(folders)
    names = {read_manifest(folder).name for folder in labelled.values()}
    if names and names <= set(IMAGE_CLASSIFIERS):
        evaluate_images(labelled, train=data, test=test, seed=seed, out=out, report=report)
        return
    if names & set(IMAGE_CLASSIFIERS):
        raise DataError("Image classifiers and recommenders are judged by different files. Evaluate them one by one.")
    fitted = {name: FittedOn(read_manifest(folder), read_training_record(folder)) for name, folder in labelled.items()}
    catalogue = Catalogue.read(data.items, data.images)
    judged_by = PROTOCOLS[protocol]
    split = read_split(data) if test is None else _given(data, protocol, test=test, fold_in=fold_in)
    check_split(split)
    digest = sha256_of(data.ratings)
    for name, folder in labelled.items():
        check_trained_on(fitted[name], split, sha256=digest, name=name)
        # Models that look at the items themselves know those of the list of items, touched or not.
        knows_all = "embed_items" in fitted[name].manifest.signatures
        listed = frozenset(catalogue.titles) if knows_all else frozenset()
        check_fitted(_vocabulary(folder), split, name=name, catalogue=listed)
    console.note(f"evaluating {' and '.join(labelled)} on {data.dataset}; starting TensorFlow")

    start_tensorflow()
    from tastemaker_jobs.evaluation.baselines import baseline_lists
    from tastemaker_jobs.evaluation.served import SavedModel

    questions = test_questions(split)
    if not questions.wanted:
        raise TooFewRatingsError(
            "No test event can be asked for: give test users an item that they have not had before."
        )
    lists = baseline_lists(split, questions, k=judged_by.longest_list, seed=seed, note=console.note)
    models = {name: SavedModel(folder) for name, folder in labelled.items()}
    for name, model in models.items():
        lists[name] = model.lists(questions, k=judged_by.longest_list)
    assessment = assess(lists, questions=questions, split=split, protocol=judged_by, dataset=data.dataset, seed=seed)
    rows = [(judged.name, judged.figures) for judged in assessment.judged]
    title = f"{data.dataset}, {split.protocol}, unseen items of the full catalogue"
    console.print_table(console.figures_table(rows, title=title))
    content = as_json(assessment)
    if protocol == COLD_ITEMS:
        among = judge_among_cold(
            split, {name: model.scores for name, model in models.items()}, read_features(data), seed
        )
        console.print_table(
            console.figures_table(
                among.items(), title=f"{data.dataset}, {protocol}, the untouched items of the test alone"
            )
        )
        content["among_cold_items"] = {name: [asdict(figure) for figure in found] for name, found in among.items()}
    pages = [path for path in (out / "report.html" if out else None, report) if path]
    if out:
        write_output(out / "metrics.json", json.dumps(content, indent=1) + "\n")
    if pages:
        epochs = {name: of_model.record.epochs for name, of_model in fitted.items() if of_model.record}
        page = render_report(assessment, lists, epochs=epochs, catalogue=catalogue)
        for path in pages:
            write_output(path, page)


def _given(data: DataFiles, protocol: str, *, test: Path, fold_in: Path | None) -> Split:
    return given_split(
        read_ratings(data.ratings),
        valid=read_ratings(data.valid) if data.valid else None,
        test=read_ratings(test),
        fold_in=read_ratings(fold_in) if fold_in else None,
        protocol=protocol,
    )


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
