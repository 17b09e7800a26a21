"""`tastemaker-jobs recommend`: a model's lists for users, into a file."""

from collections.abc import Sequence
from pathlib import Path

from tastemaker_jobs import console
from tastemaker_jobs.data.ratings import read_ratings
from tastemaker_jobs.errors import DataError
from tastemaker_jobs.evaluation.protocol import Questions
from tastemaker_jobs.publishing.versions import check_writable, version_folder
from tastemaker_jobs.quiet import start_tensorflow

__all__ = ["recommend"]

_SUFFIXES = (".parquet", ".csv")


def recommend(*, model_dir: Path, history: Path, k: int, users: Path | None, out: Path) -> None:
    """Ask a published SavedModel for each user's list and write user_id, item_id, rank (1 to k) and score.

    Rows are sorted by user in the order asked, then by rank. Items of a user's history never return. A user without a
    history gets what the model has for new users.

    Args:
        model_dir: A model's folder (newest version) or a version's.
        history: A ratings file.
        k: Length of the lists; shorter where there are not enough items.
        users: A file with one user id per line; None asks for all users of the history.
        out: A .parquet or .csv file; replaced in one step.

    Raises:
        DataError: A file cannot be read or written.
        NoVersionError: There is no model.
        ModelLoadError: It cannot be loaded.
    """
    if out.suffix not in _SUFFIXES:
        raise DataError(f"--out {out} should end in {' or '.join(_SUFFIXES)}: that says which format to write.")
    folder = version_folder(str(model_dir.absolute()), models_dir=model_dir)
    histories = read_ratings(history).in_time_order().histories()
    asked = list(histories) if users is None else _read_users(users)
    check_writable(out.absolute().parent)
    console.note(f"{len(asked)} users; starting TensorFlow")
    start_tensorflow()
    import pyarrow as pa
    from pyarrow import csv, parquet

    from tastemaker_jobs.evaluation.served import SavedModel

    lists = SavedModel(folder).scored_lists(Questions({user: histories.get(user, []) for user in asked}, {}), k=k)
    rows = [(user, item, rank, score) for user in asked for rank, (item, score) in enumerate(lists[user], start=1)]
    columns = list(zip(*rows, strict=True)) or [()] * 4
    types = (pa.string(), pa.string(), pa.int32(), pa.float32())
    names = ("user_id", "item_id", "rank", "score")
    table = pa.table({name: pa.array(column, kind) for name, column, kind in zip(names, columns, types, strict=True)})
    draft = out.with_name(f".{out.name}.part")
    try:
        (parquet.write_table if out.suffix == ".parquet" else csv.write_csv)(table, draft)
        draft.replace(out)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise DataError(f"{out} cannot be written: {error.strerror or error}. Name another place.") from error
    console.print_path(out)


def _read_users(path: Path) -> Sequence[str]:
    """One id per line, each once; empty lines are passed over.

    Raises:
        DataError: The file cannot be read, or names nobody.
    """
    try:
        users = list(dict.fromkeys(line for line in path.read_text("utf-8").splitlines() if line))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}. Give a UTF-8 file with one user id per line.") from error
    if not users:
        raise DataError(f"{path} names no user. Give one user id per line.")
    return users
