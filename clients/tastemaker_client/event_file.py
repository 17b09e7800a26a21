"""Reads events from a CSV file: MovieLens ratings, or any log with a type for each event.

The columns, in any order, are named by the file's first line or by the caller:

    user_id, item_id, timestamp    required; MovieLens's userId and movieId are understood
    rating                         required where there is no event_type: each row is then a RATE event
    event_type                     VIEW, CLICK, ADD_TO_CART, PURCHASE, CONSUME or RATE, in any case
    event_id                       where it is missing or empty, an id is made from the row's content

An id made here depends on the content of the row and on how many equal rows came before it, not on the file's name or
on line numbers: a file that is imported twice, or that has grown since, gives the same ids for the same rows, and the
server counts those as duplicates. `event_cells` knows what a cell may hold.

The file is read twice, once to check all of it and once to send it, so that nothing is sent of a file that is wrong and
a file may be larger than the memory (the ids made here keep about 150 bytes for each row).
"""

import collections
import csv
import dataclasses
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tastemaker_client.event import Event
from tastemaker_client.event_cells import COLUMNS, EXAMPLE_HEADER, BadCell, event_from_cells

__all__ = ["EventFile", "EventFileError", "EventRow"]

_ALIASES = {"eventId": "event_id", "itemId": "item_id", "movieId": "item_id", "userId": "user_id"}
_MAX_PROBLEMS_SHOWN = 20
_NAMESPACE = uuid.UUID("6f0d3a52-6b0e-4c55-9d5c-3b9a0a3f6f7e")


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event of a file."""

    line: int
    """Where it starts, counted from 1."""
    event: Event


class EventFileError(Exception):
    """The file cannot be read as events; `problems` has a line for each bad cell, the first twenty of them."""

    def __init__(self, problems: Sequence[str], problem_count: int) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)
        self.problem_count = problem_count


class EventFile:
    """A UTF-8 file of comma- or tab-separated events."""

    def __init__(self, path: Path, *, columns: Sequence[str] | None = None) -> None:
        """Takes a file; nothing is read yet.

        Args:
            path: a regular file.
            columns: the names of the columns of a file without a header line; None where its first line has them.
        """
        self._path = path
        self._columns = columns

    def check(self) -> int:
        """Reads the whole file and keeps nothing of it.

        Returns:
            How many events it has.

        Raises:
            EventFileError: with every bad cell: its line, its column, what was found, what was expected.
        """
        problems = _Problems(self._path)
        count = sum(1 for _ in self._read(problems))
        problems.raise_if_any()
        return count

    def rows(self) -> Iterator[EventRow]:
        """Yields the events in the order of the file, each with its id.

        Raises:
            EventFileError: after the last good row before the first bad one; `check` finds them all.
        """
        problems = _Problems(self._path)
        seen: collections.Counter[str] = collections.Counter()
        for row in self._read(problems):
            problems.raise_if_any()
            yield row if row.event.event_id else EventRow(row.line, _with_id(row.event, seen))
        problems.raise_if_any()

    def _read(self, problems: "_Problems") -> Iterator[EventRow]:
        try:
            if not self._path.is_file():
                found = "not a regular file; it is read twice" if self._path.exists() else "no such file"
                raise EventFileError([f"{self._path}: {found}"], 1)
            # Bytes that are not UTF-8 become surrogates, so that the cell which has them can be named.
            with self._path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
                yield from self._rows(file, problems)
        except OSError as error:
            raise EventFileError([f"{self._path}: {error.strerror}"], 1) from error

    def _rows(self, file: TextIO, problems: "_Problems") -> Iterator[EventRow]:
        delimiter = "\t" if "\t" in file.readline() else ","
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        columns = None if self._columns is None else self._checked(self._columns, line=0)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                # What follows an open quote cannot be told apart from what is inside it.
                problems.add(line, "the row", BadCell(str(error), "a well-formed row; a quote inside one is doubled"))
                return
            if cells is None:
                break
            if columns is None:
                columns = self._checked(cells, line)
            elif len(cells) == len(columns):
                event, bad_cells = event_from_cells(dict(zip(columns, cells, strict=True)))
                for column, bad_cell in bad_cells.items():
                    problems.add(line, column, bad_cell)
                if event:
                    yield EventRow(line, event)
            elif cells:
                expected = f"{len(columns)}: {','.join(columns)}"
                problems.add(line, "the row", BadCell(f"{len(cells)} columns", expected))
        if columns is None:
            raise EventFileError([f"{self._path}:1: found an empty file, expected a header: {EXAMPLE_HEADER}"], 1)

    def _checked(self, names: Sequence[str], line: int) -> list[str]:
        columns = [_ALIASES.get(name.strip(), name.strip()) for name in names]
        problems = [f"unknown column {name!r}" for name in columns if name not in COLUMNS]
        problems += [f"column {name} twice" for name, count in collections.Counter(columns).items() if count > 1]
        problems += [f"no column {name}" for name in ("user_id", "item_id", "timestamp") if name not in columns]
        if not {"rating", "event_type"} & set(columns):
            problems.append("no column rating or event_type")
        if problems:
            place = f"{self._path}:{line}: the header" if line else "--columns"
            hint = "; for a file without a header give --columns" if line else ""
            found = f"found {', '.join(problems)}"
            raise EventFileError([f"{place}: {found}; expected columns such as {EXAMPLE_HEADER}{hint}"], len(problems))
        return columns


class _Problems:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._shown: list[str] = []
        self._count = 0

    def add(self, line: int, column: str, bad_cell: BadCell) -> None:
        self._count += 1
        if self._count <= _MAX_PROBLEMS_SHOWN:
            self._shown.append(f"{self._path}:{line}: {column}: found {bad_cell.found}, expected {bad_cell.expected}")

    def raise_if_any(self) -> None:
        if self._count:
            raise EventFileError(self._shown, self._count)


def _with_id(event: Event, seen: "collections.Counter[str]") -> Event:
    time = event.time.isoformat() if event.time else None
    content = json.dumps([event.user_id, event.item_id, event.event_type, time, event.rating])
    content_id = str(uuid.uuid5(_NAMESPACE, content))
    occurrence = seen[content_id]
    seen[content_id] += 1
    if occurrence:
        content_id = str(uuid.uuid5(_NAMESPACE, f"{occurrence} {content}"))
    return dataclasses.replace(event, event_id=content_id)
