"""What ratings are in memory, and reading them from a file.

Owns what a row of a ratings file must be; how rows stand in CSV and in Parquet is `rating_rows`' matter, where files
come from is `sources`'.
"""

import hashlib
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tastemaker_jobs.data.exported_events import EXPORT, export_rows
from tastemaker_jobs.data.rating_rows import MAX_PROBLEMS, Row, csv_rows, parquet_rows
from tastemaker_jobs.errors import DataError, RatingsFormatError, RatingsProblem

__all__ = ["Ratings", "read_ratings", "sha256_of"]

_MAX_ID_BYTES = 256
_LAST_TIMESTAMP = 253_402_300_799  # the end of the year 9999: what a protobuf Timestamp can hold
_BAD_ID_CHARACTERS = frozenset("\n\r\0")  # a vocabulary is a text file with one id per line


def _no_types() -> npt.NDArray[np.object_]:
    return np.array([], dtype=object)


@dataclass(frozen=True)
class Ratings:
    """N ratings as columns. The order of the rows is part of the data: it breaks ties of time."""

    user_id: npt.NDArray[np.object_]
    """[N] str."""
    item_id: npt.NDArray[np.object_]
    """[N] str."""
    rating: npt.NDArray[np.float32]
    """[N], any finite number."""
    timestamp: npt.NDArray[np.int64]
    """[N], seconds since 1970-01-01 UTC."""
    event_type: npt.NDArray[np.object_] = field(default_factory=_no_types)
    """[N] str, such as view or purchase; "" where the file does not say."""

    def __post_init__(self) -> None:
        if not len(self.event_type) and len(self.user_id):
            object.__setattr__(self, "event_type", np.full(len(self.user_id), "", dtype=object))

    def __len__(self) -> int:
        return len(self.user_id)

    def take(self, rows: npt.NDArray[np.int64]) -> "Ratings":
        """The ratings at these row numbers, in that order.

        Args:
            rows: [M] row numbers.
        """
        return Ratings(*(getattr(self, column.name)[rows] for column in fields(self)))

    @classmethod
    def joined(cls, *parts: "Ratings") -> "Ratings":
        """The rows of some ratings, one after the other.

        Args:
            parts: 1 or more; each may be empty.
        """
        return cls(*(np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(cls)))

    def where(self, mask: npt.NDArray[np.bool_]) -> "Ratings":
        """The rows that a mask keeps, in order.

        Args:
            mask: [N].
        """
        return self.take(np.flatnonzero(mask))

    def without_repeats(self) -> "Ratings":
        """Each user, item and timestamp once, the first of them: a second one is the same event, written twice."""
        seen: set[tuple[str, str, int]] = set()
        keys = list(zip(self.user_id, self.item_id, self.timestamp.tolist(), strict=True))
        first = np.zeros(len(keys), dtype=np.bool_)  # [N]
        for row, key in enumerate(keys):
            first[row] = key not in seen
            seen.add(key)
        return self if first.all() else self.where(first)

    def in_time_order(self) -> "Ratings":
        """Oldest first; rows of one timestamp keep their order."""
        return self.take(np.argsort(self.timestamp, kind="stable"))

    def histories(self) -> dict[str, list[str]]:
        """Each user's items in row order; users in order of first appearance."""
        histories: dict[str, list[str]] = {}
        for user, item in zip(self.user_id, self.item_id, strict=True):
            histories.setdefault(user, []).append(item)
        return histories


def read_ratings(path: Path) -> Ratings:
    """Read a ratings file: CSV, or Parquet where the name ends in .parquet; or a folder of exported events.

    It has user_id, item_id, rating and timestamp (seconds since 1970-01-01 UTC) in any order, and event_type if events
    are of several types; other columns are ignored. Ids are strings and stay as given. CSV is UTF-8 with a header.

    Raises:
        RatingsFormatError: The file breaks the format; lists the first 20 places.
        DataError: The file cannot be opened.
    """
    problems: list[RatingsProblem] = []
    users: list[str] = []
    items: list[str] = []
    values: list[float] = []
    times: list[int] = []
    types: list[str] = []
    try:
        for line, (user, item, rating, time, kind) in _rows(path, problems):
            users.append(_identifier(user, "user_id", line, problems))
            items.append(_identifier(item, "item_id", line, problems))
            values.append(_rating(rating, line, problems))
            times.append(_timestamp(time, line, problems))
            types.append(sys.intern(kind))
            if len(problems) >= MAX_PROBLEMS:
                raise RatingsFormatError(path, problems[:MAX_PROBLEMS], more=True)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}. Check the path and its permissions."
        ) from error
    if not users and not problems:
        problems.append(RatingsProblem(2, "whole line", "the end of the file", "at least one rating"))
    if problems:
        raise RatingsFormatError(path, problems[:MAX_PROBLEMS], more=len(problems) > MAX_PROBLEMS)
    return Ratings(
        np.array(users, dtype=object),
        np.array(items, dtype=object),
        np.array(values, dtype=np.float32),
        np.array(times, dtype=np.int64),
        np.array(types, dtype=object),
    )


def _rows(path: Path, problems: list[RatingsProblem]) -> Iterator[Row]:
    if path.is_dir():
        return export_rows(path)
    return parquet_rows(path, problems) if path.suffix == ".parquet" else csv_rows(path, problems)


def sha256_of(path: Path) -> str:
    """The hex SHA-256 of a file's bytes; of a folder of exported events, of what lists them with their own."""
    path = path / EXPORT if path.is_dir() else path
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _identifier(text: str, column: str, line: int, problems: list[RatingsProblem]) -> str:
    if not text or len(text.encode()) > _MAX_ID_BYTES or not _BAD_ID_CHARACTERS.isdisjoint(text):
        expected = f"an id of 1 to {_MAX_ID_BYTES} bytes without line breaks"
        problems.append(RatingsProblem(line, f"column {column}", _shown(text), expected))
    return text


def _rating(text: str, line: int, problems: list[RatingsProblem]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or abs(value) > np.finfo(np.float32).max:
        problems.append(RatingsProblem(line, "column rating", _shown(text), "a finite number"))
        return 0.0
    return value


def _timestamp(text: str, line: int, problems: list[RatingsProblem]) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value <= _LAST_TIMESTAMP:
        expected = "whole seconds since 1970-01-01 UTC"
        if value > _LAST_TIMESTAMP:
            expected += " (this looks like milliseconds or finer)"
        problems.append(RatingsProblem(line, "column timestamp", _shown(text), expected))
        return 0
    return value


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
