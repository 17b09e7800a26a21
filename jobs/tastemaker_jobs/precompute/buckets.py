"""Rows dealt by a hash of their key to buckets on disk, so that all rows of one key can be read together.

The way of a sort-based shuffle: whoever deals writes files of Arrow's IPC format that hold one record batch for each
bucket, in order, so the file's footer says where a bucket lies. Few files, each written at one go, and nobody holds
more than a slice of the rows. A source of rows counts once its summary is there, which is written last.
"""

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tastemaker_jobs.precompute.whole_files import whole_file, write_text

__all__ = ["Dealt", "bucket_numbers", "deal", "read_bucket", "summary_of"]

_SLICE_ROWS = 1_000_000  # some 100 MB; a bucket's part of it should not be just a few rows
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True)
class Dealt:
    """What became of one source of rows."""

    source: str
    """Its name, unique within the folder."""
    files: int
    """How many files it was dealt to."""
    rows: int
    """How many rows it had."""
    newest: int
    """The largest value of the column of times; 0 where there is none."""


def bucket_numbers(keys: pa.Array, buckets: int) -> npt.NDArray[np.int64]:
    """The bucket of each key. The same on every machine and in every run.

    Args:
        keys: [N] of type string.
        buckets: How many there are.

    Returns:
        [N], 0 to buckets - 1.

    >>> bucket_numbers(pa.array(["ann", "bob", "ann"]), 10).tolist()
    [9, 3, 9]
    """
    encoded = keys.dictionary_encode()
    numbers = (zlib.crc32(key.encode()) % buckets for key in encoded.dictionary.to_pylist())
    of_key = np.fromiter(numbers, np.int64, len(encoded.dictionary))
    found: npt.NDArray[np.int64] = of_key[encoded.indices.to_numpy()]
    return found


def deal(
    tables: Iterable[pa.Table],
    *,
    key: str,
    buckets: int,
    folder: Path,
    aside: Path,
    source: str,
    times: str | None = None,
) -> Dealt:
    """Deal a source of rows. Done again, it is written again.

    Args:
        tables: All of one schema.
        key: The column of type string that decides.
        buckets: How many.
        folder: Of all sources that are read together.
        aside: Of files that are not whole; see `whole_file`.
        source: The name of this one.
        times: A column of whole numbers whose largest is wanted.

    Raises:
        ListsError: The disk is full, or the like.
    """
    files = rows = newest = 0
    for table in _slices(tables):
        number = bucket_numbers(table.column(key).combine_chunks(), buckets)  # [N]
        order = np.argsort(number, kind="stable")
        ends = np.cumsum(np.bincount(number, minlength=buckets))  # [buckets]
        (batch,) = table.take(pa.array(order)).combine_chunks().to_batches()
        with (
            whole_file(folder / f"{source}-{files:05}.arrow", aside=aside) as file,
            pa.ipc.new_file(file, batch.schema, options=_OPTIONS) as writer,
        ):
            for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
                writer.write_batch(batch.slice(start, end - start))
        files, rows = files + 1, rows + len(table)
        newest = max(newest, int(np.max(table.column(times).to_numpy()))) if times else newest
    dealt = Dealt(source, files, rows, newest)
    write_text(folder / f"{source}.json", json.dumps(vars(dealt)), aside=aside)
    return dealt


def summary_of(folder: Path, source: str) -> Dealt | None:
    """What became of a source, if it was dealt to its end."""
    path = folder / f"{source}.json"
    return Dealt(**json.loads(path.read_text())) if path.is_file() else None


def read_bucket(folder: Path, bucket: int) -> pa.Table | None:
    """All rows of a bucket; None where nothing was dealt."""
    batches = []
    for summary in sorted(folder.glob("*.json")):
        dealt = Dealt(**json.loads(summary.read_text()))
        for number in range(dealt.files):
            with pa.memory_map(str(folder / f"{dealt.source}-{number:05}.arrow")) as file:
                batches.append(pa.ipc.open_file(file).get_batch(bucket))
    return pa.Table.from_batches(batches) if batches else None


def _slices(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of a good size. None of them is empty."""
    waiting: list[pa.Table] = []
    for table in tables:
        for start in range(0, len(table), _SLICE_ROWS):
            waiting.append(table.slice(start, _SLICE_ROWS))
            if sum(map(len, waiting)) >= _SLICE_ROWS:
                yield pa.concat_tables(waiting)
                waiting = []
    if waiting:
        yield pa.concat_tables(waiting)
