"""A folder of `tastemaker-server export-events`: what is in it, and its events as the rows of a ratings file."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tastemaker_jobs.data.rating_rows import Row
from tastemaker_jobs.errors import DataError

__all__ = ["EXPORT", "Export", "export_rows", "read_export"]

EXPORT = "export.json"
"""What an export holds; written last."""

_COLUMNS = ("user_id", "item_id", "rating", "event_time_micros", "event_type")
_MICROS = 1_000_000


@dataclass(frozen=True)
class Export:
    """What `export.json` says."""

    position: int
    """In the event log, of the newest event."""
    digests: Mapping[str, str]
    """File name to its hex SHA-256, in order of names, which is that of the log."""


def read_export(folder: Path) -> Export:
    """What is in an export of the whole event log.

    Raises:
        DataError: It is no export, or one of a part of the log.
    """
    path = folder / EXPORT
    try:
        content = json.loads(path.read_text("utf-8"))
        position, after = int(content["last_position"]), int(content["after"])
        digests = {entry["name"]: entry["sha256"] for entry in content["files"]}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({type(error).__name__}: {error}). Give the folder that `tastemaker-server"
            " export-events` wrote."
        ) from error
    if after:
        raise DataError(f"{folder} has only the events after position {after}. Export the whole log.")
    return Export(position, dict(sorted(digests.items())))


def export_rows(folder: Path) -> Iterator[Row]:
    """The events in their order, as the rows of a ratings file: an event without a rating counts as 1.

    Raises:
        DataError: It is no whole export, or a file cannot be read.
    """
    import pyarrow as pa  # here: who has CSV need not wait for it
    from pyarrow import parquet

    line = 0
    for name in read_export(folder).digests:
        try:
            with parquet.ParquetFile(folder / name) as file:
                for batch in file.iter_batches(columns=list(_COLUMNS)):
                    for user, item, rating, micros, kind in zip(
                        *(batch.column(column).to_pylist() for column in _COLUMNS), strict=True
                    ):
                        line += 1
                        stars = "1" if rating is None else str(rating)
                        yield line, (user, item, stars, str(micros // _MICROS), kind)
        except (OSError, KeyError, pa.ArrowException) as error:
            raise DataError(f"{folder / name} cannot be read: {error}. Export the events again.") from error
