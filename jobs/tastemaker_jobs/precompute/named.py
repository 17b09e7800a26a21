"""Users and items that files name, one id per line, and the catalogue."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from tastemaker_jobs.data.item_features import read_item_features
from tastemaker_jobs.errors import DataError, ModelLoadError

__all__ = ["catalogue_ids", "id_tables", "named_users", "vocabulary"]

_BATCH_ROWS = 100_000


def named_users(path: Path) -> Iterator[str]:
    """The ids of a users file; empty lines are passed over.

    Raises:
        DataError: It cannot be read, or names nobody.
    """
    found = False
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                if user := line.rstrip("\r\n"):
                    found = True
                    yield user
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}. Give a UTF-8 file with one user id per line.") from error
    if not found:
        raise DataError(f"{path} names no user. Give one user id per line.")


def catalogue_ids(path: Path) -> tuple[str, ...]:
    """The ids of a list of items.

    Raises:
        DataError: It cannot be read, breaks the format, or has no items.
    """
    found = read_item_features(path).item_ids
    if not found:
        raise DataError(f"{path} has no items. Give a CSV file with item_id.")
    return found


def vocabulary(folder: Path) -> list[str]:
    """The item ids that a version of a model carries, in its order.

    Raises:
        ModelLoadError: It carries none where Tastemaker's models do.
    """
    path = folder / "assets" / "item_ids.txt"
    try:
        return path.read_text("utf-8").split("\n")[:-1]
    except OSError as error:
        raise ModelLoadError(
            f"{path} cannot be read: {error.strerror or error}. Without it nobody knows which items the model has:"
            " give --items for item lists, and leave it out for users' lists."
        ) from error


def id_tables(ids: Iterator[str]) -> Iterator[pa.Table]:
    """Ids as tables of one column, key. In a table each stands once."""
    while rows := list(dict.fromkeys(itertools.islice(ids, _BATCH_ROWS))):
        yield pa.table({"key": pa.array(rows, pa.string())})
