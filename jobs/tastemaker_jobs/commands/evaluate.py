"""`tastemaker-jobs evaluate`: judge the newest published version of each model."""

from collections.abc import Sequence
from pathlib import Path

from tastemaker_jobs import console
from tastemaker_jobs.commands.fetch import ratings_file
from tastemaker_jobs.data.ratings import read_ratings, sha256_of
from tastemaker_jobs.data.splits import leave_last_out
from tastemaker_jobs.data.vocabulary import Vocabulary
from tastemaker_jobs.evaluation.metrics import CUTOFF, judge
from tastemaker_jobs.evaluation.popularity import popular_lists
from tastemaker_jobs.evaluation.protocol import test_questions
from tastemaker_jobs.publishing.manifests import read_manifest
from tastemaker_jobs.publishing.versions import newest_version
from tastemaker_jobs.quiet import start_tensorflow

__all__ = ["evaluate"]


def evaluate(
    *, models: Sequence[str], ratings: Path | None, data_dir: Path | None, models_dir: Path, seed: int
) -> None:
    """Ask each SavedModel for lists and print their quality beside popularity's."""
    folders = {name: newest_version(models_dir / name) for name in models}
    manifests = {name: read_manifest(folder) for name, folder in folders.items()}
    data = ratings_file(ratings=ratings, data_dir=data_dir)
    split = leave_last_out(read_ratings(data.path))
    digest = sha256_of(data.path)
    for name, manifest in manifests.items():
        if manifest.data_window.sha256 != digest:
            other = manifest.data_window.dataset
            console.note(f"careful: {name} was trained on another file ({other}), which may hold these test items")
    console.note(f"evaluating {' and '.join(models)} on {data.dataset}; starting TensorFlow")

    start_tensorflow()
    from tastemaker_jobs.evaluation.served import SavedModel

    questions = test_questions(split)
    popular = popular_lists(questions, Vocabulary.of(split.train.item_id).item_ids, k=CUTOFF)
    rows = [("popularity", judge(popular, questions.wanted, seed=seed))]
    for name, folder in folders.items():
        lists = SavedModel(folder).lists(questions, k=CUTOFF)
        rows.append((f"{name}/{folder.name}", judge(lists, questions.wanted, seed=seed)))
    title = f"{data.dataset}, {split.protocol}, unseen items of the full catalogue"
    console.print_table(console.figures_table(rows, title=title))
