"""The rows of a ratings file as text, from CSV or from Parquet. What the cells may be is `ratings`' matter."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tastemaker_jobs.errors import RatingsFormatError, RatingsProblem

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MAX_PROBLEMS", "Row", "csv_rows", "parquet_rows"]

MAX_PROBLEMS = 20
"""After so many, reading stops."""

Row = tuple[int, tuple[str, str, str, str, str]]
"""Line in the file (in Parquet the row, from 1), and user_id, item_id, rating, timestamp, event_type."""

_COLUMNS = ("user_id", "item_id", "rating", "timestamp")
_OPTIONAL = "event_type"
_EXPECTED = f"a header with {', '.join(_COLUMNS)}"


def csv_rows(path: Path, problems: list[RatingsProblem]) -> Iterator[Row]:
    """The rows of a CSV file.

    Args:
        path: UTF-8, with a header.
        problems: What is wrong with a line is added here; the line is passed over.

    Raises:
        RatingsFormatError: The header does not fit, or there are too many problems to go on.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        rows = csv.reader(_decoded(file, problems), strict=True)
        try:
            header = [name.strip() for name in next(rows, [])]
            if not header:
                problems.append(RatingsProblem(1, "header", "an empty file", _EXPECTED))
            _check_header(header, path, problems)
            places = [header.index(name) for name in _COLUMNS]
            kind = header.index(_OPTIONAL) if _OPTIONAL in header else None
            for row in rows:
                if len(problems) >= MAX_PROBLEMS:
                    raise RatingsFormatError(path, problems[:MAX_PROBLEMS], more=True)
                if not row:  # an empty line, as some editors leave at the end
                    continue
                if len(row) != len(header):
                    found, expected = f"{len(row)} fields", f"{len(header)}, as in the header"
                    problems.append(RatingsProblem(rows.line_num, "whole line", found, expected))
                    continue
                user, item, rating, time = (row[place] for place in places)
                yield rows.line_num, (user, item, rating, time, row[kind] if kind is not None else "")
        except csv.Error as error:
            problems.append(RatingsProblem(rows.line_num, "whole line", f"broken CSV ({error})", "valid CSV"))


def parquet_rows(path: Path, problems: list[RatingsProblem]) -> Iterator[Row]:
    """The rows of a Parquet file. Whole numbers may be ids, Arrow timestamps may be timestamps; null is an empty text.

    Args:
        path: Of the file.
        problems: What is wrong with the file as a whole is added here.

    Raises:
        RatingsFormatError: The columns do not fit.
        OSError: The file cannot be read.
    """
    import pyarrow as pa  # here: who has CSV need not wait for it
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except pa.ArrowInvalid as error:
        problems.append(RatingsProblem(1, "whole file", f"no Parquet ({error})", "a Parquet file"))
        raise RatingsFormatError(path, problems) from error
    with file:
        _check_header(file.schema_arrow.names, path, problems)
        names = [*_COLUMNS, *([_OPTIONAL] if _OPTIONAL in file.schema_arrow.names else [])]
        line = 0
        for batch in file.iter_batches(columns=names):
            columns = [_texts(batch.column(name)) for name in names]
            columns += [[""] * len(batch)] * (5 - len(columns))
            for user, item, rating, time, kind in zip(*columns, strict=True):
                line += 1
                yield line, (user, item, rating, time, kind)


def _texts(column: "pa.Array") -> list[str]:
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
    return ["" if value is None else str(value) for value in column.to_pylist()]


def _decoded(file: Iterator[bytes], problems: list[RatingsProblem]) -> Iterator[str]:
    """Lines as text; a line that is not UTF-8 becomes a problem, with the byte it begins at."""
    for number, raw in enumerate(file, start=1):
        try:
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            found = f"byte 0x{raw[error.start]:02x}"
            problems.append(RatingsProblem(number, f"byte {error.start + 1}", found, "UTF-8 text"))
            yield raw.decode("utf-8", errors="replace")


def _check_header(header: list[str], path: Path, problems: list[RatingsProblem]) -> None:
    for name in _COLUMNS if header else ():
        if header.count(name) != 1:
            text = ",".join(header)
            shown = repr(text if len(text) <= 60 else text[:57] + "...")
            found = f"{header.count(name) or 'no'} such column in {shown}"
            problems.append(RatingsProblem(1, f"column {name}", found, _EXPECTED))
    if header.count(_OPTIONAL) > 1:
        problems.append(RatingsProblem(1, f"column {_OPTIONAL}", f"{header.count(_OPTIONAL)} of them", "one at most"))
    if problems:
        raise RatingsFormatError(path, problems)
