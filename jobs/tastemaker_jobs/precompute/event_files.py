"""The events that lists are computed from: a folder of `tastemaker-server export-events`, or a ratings file.

Owns how both become tables of the same columns. An export is streamed; a ratings file is read whole.
"""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from tastemaker_jobs.data.exported_events import EXPORT, read_export
from tastemaker_jobs.data.ratings import read_ratings, sha256_of
from tastemaker_jobs.errors import ChecksumError, DataError

__all__ = ["COLUMNS", "EventFiles", "event_tables", "export_files", "ratings_file"]

COLUMNS = pa.schema(
    {
        "user_id": pa.string(),
        "item_id": pa.string(),
        "is_consumed": pa.bool_(),
        "event_time_micros": pa.int64(),
        "position": pa.int64(),
    }
)
"""Of an event: whether it makes its item consumed, when it was, and its place in the log, or in the ratings file."""

_OF_EXPORT = ("user_id", "item_id", "event_type", "event_time_micros", "position")
_BATCH_ROWS = 131_072


@dataclass(frozen=True)
class EventFiles:
    """Small, so that it travels to workers; the paths must mean the same there."""

    paths: tuple[Path, ...]
    """1 or more."""
    digests: tuple[str, ...]
    """The hex SHA-256 of each; of an export, as it claims."""
    is_export: bool
    """Else a ratings file."""
    position: int
    """In the event log, of the newest event; 0 for a ratings file."""
    event_count: int | None
    """None where it cannot be told without reading."""

    @property
    def fingerprint(self) -> str:
        """Changes with any event."""
        return hashlib.sha256(f"{self.position} {sorted(self.digests)}".encode()).hexdigest()


def ratings_file(path: Path) -> EventFiles:
    """A ratings file.

    Raises:
        DataError: It cannot be read.
    """
    try:
        return EventFiles((path,), (sha256_of(path),), is_export=False, position=0, event_count=None)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}. Check the path.") from error


def export_files(folder: Path) -> EventFiles:
    """The files of an export of the event log.

    Raises:
        DataError: It is no export, has no events, or lacks a column.
    """
    export = read_export(folder)
    digests = export.digests
    count = 0
    for name in digests:
        try:
            file = parquet.ParquetFile(folder / name)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{folder / name} cannot be read: {error}. Export the events again.") from error
        with file:
            if missing := [column for column in _OF_EXPORT if column not in file.schema_arrow.names]:
                has = ", ".join(file.schema_arrow.names)
                raise DataError(f"{folder / name} has no column {' and no '.join(missing)}; it has {has}.")
            count += file.metadata.num_rows
    if not count:
        raise DataError(f"{folder} has no events. Send feedback first, or give --ratings.")
    return EventFiles(tuple(folder / name for name in digests), tuple(digests.values()), True, export.position, count)


def event_tables(files: EventFiles, number: int, *, consuming: Collection[str]) -> Iterator[pa.Table]:
    """The events of one file.

    Args:
        files: Of the run.
        number: Of the file, from 0.
        consuming: Types of events that make an item consumed, such as "purchase". An event without a type always does.

    Yields:
        Tables of `COLUMNS`.

    Raises:
        DataError: The file breaks its format.
        ChecksumError: It is not the file that was exported.
    """
    path = files.paths[number]
    if not files.is_export:
        yield _of_ratings(path, consuming)
        return
    if files.digests[number] != sha256_of(path):
        raise ChecksumError(f"{path} is not what {EXPORT} says: its SHA-256 differs. Export the events again.")
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(_OF_EXPORT)):
            columns = {name: batch.column(name) for name in _OF_EXPORT}
            if bad := [name for name, column in columns.items() if column.null_count]:
                raise DataError(f"{path}: column {bad[0]} has an empty cell. Export the events again.")
            columns["is_consumed"] = _is_consumed(columns.pop("event_type"), consuming)
            try:
                arrays = [columns[field.name].cast(field.type) for field in COLUMNS]
            except pa.ArrowException as error:
                raise DataError(f"{path} has a column of another type: {error}. Export the events again.") from error
            yield pa.Table.from_arrays(arrays, schema=COLUMNS)


def _of_ratings(path: Path, consuming: Collection[str]) -> pa.Table:
    ratings = read_ratings(path)
    return pa.table(
        {
            "user_id": pa.array(ratings.user_id, pa.string()),
            "item_id": pa.array(ratings.item_id, pa.string()),
            "is_consumed": _is_consumed(pa.array(ratings.event_type, pa.string()), consuming),
            "event_time_micros": pa.array(ratings.timestamp * 1_000_000),
            "position": pa.array(np.arange(1, len(ratings) + 1)),
        },
        schema=COLUMNS,
    )


def _is_consumed(types: pa.Array, consuming: Collection[str]) -> pa.Array:
    names = pc.utf8_lower(types.cast(pa.string()))
    names = pc.replace_substring_regex(names, "^event_type_", "")
    return pc.is_in(names, value_set=pa.array(["", *consuming], pa.string()))
