"""Titles to show beside item ids, from a CSV file with the columns item_id and title (others are ignored)."""

import csv
from collections.abc import Mapping
from pathlib import Path

__all__ = ["TitlesFileError", "read_titles"]


class TitlesFileError(Exception):
    """The file cannot be read as titles."""


def read_titles(path: Path) -> Mapping[str, str]:
    """Reads titles by item id.

    Args:
        path: a UTF-8 CSV file with a header line.

    Returns:
        The title of each item.

    Raises:
        TitlesFileError: naming the file, the line and what is expected.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not {"item_id", "title"} <= set(reader.fieldnames or ()):
                found = ",".join(reader.fieldnames or ()) or "nothing"
                raise TitlesFileError(f"{path}:1: expected a header line with item_id and title, found {found}")
            return {row["item_id"]: row["title"] or "" for row in reader}
    except OSError as error:
        raise TitlesFileError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TitlesFileError(f"{path}: not a UTF-8 CSV file with the columns item_id and title: {error}") from error
