"""Training data dealt to workers: a Parquet file for each, and its rows read back as training data."""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

__all__ = ["Shareable", "fingerprint", "read_shard", "write_shards"]

_ROW = "row"
_GROUP = 10_000  # rows at a time


class Shareable(Protocol):
    """Training data of N rows that can be dealt to workers."""

    unit: Any
    """What a row is, in the plural."""
    sizes: Any
    """How much work each row is, [N]."""

    def __len__(self) -> int:
        """N."""

    def columns(self, rows: Sequence[int]) -> dict[str, Any]:
        """Rows as columns of a table."""

    def without_rows(self) -> "Shareable":
        """What a worker must know besides its rows."""

    def with_columns(self, columns: Mapping[str, Sequence[pa.Scalar]]) -> "Shareable":
        """Rows out of the columns of a table."""


def fingerprint(question: str, data: Shareable) -> str:
    """What tells runs apart: 64 hexadecimal digits.

    Args:
        question: Model, settings and the like, as text.
        data: All its rows are read.
    """
    digest = hashlib.sha256(question.encode())
    for start in range(0, len(data), _GROUP):
        for column in data.columns(range(start, min(start + _GROUP, len(data)))).values():
            for value in column:
                content = value if isinstance(value, bytes) else np.asarray(value).tobytes()
                digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def write_shards(data: Shareable, count: int, storage: fs.FileSystem, folder: str) -> list[str]:
    """A file for each worker: rows dealt from the one with most work, to and fro, so that all have alike.

    Args:
        data: With at least as many rows as workers.
        count: How many workers.
        storage: That the files go to.
        folder: On it; made if it is not there.

    Returns:
        The files, by the worker's number.
    """
    order = np.lexsort([np.arange(len(data)), -data.sizes])
    storage.create_dir(folder, recursive=True)
    paths = []
    for number in range(count):
        place = np.arange(len(data)) % (2 * count)
        mine = np.sort(order[(place == number) | (place == 2 * count - 1 - number)]).tolist()
        paths.append(f"{folder}/{number}-of-{count}.parquet")
        groups = (mine[start : start + _GROUP] for start in range(0, len(mine), _GROUP))
        tables = (pa.table({_ROW: rows, **data.columns(rows)}) for rows in groups)
        first = next(tables)
        with storage.open_output_stream(paths[-1]) as stream, pq.ParquetWriter(stream, first.schema) as writer:
            for table in itertools.chain([first], tables):
                writer.write_table(table)
    return paths


def read_shard(dataset: Any, skeleton: Shareable) -> Shareable:
    """A worker's rows, in the order of the file whatever the order in which blocks come.

    Args:
        dataset: Of Ray Data, over one file.
        skeleton: What the worker knows besides its rows.
    """
    table = pa.concat_tables(dataset.iter_batches(batch_format="pyarrow", batch_size=None)).sort_by(_ROW)
    return skeleton.with_columns({name: list(table[name]) for name in table.column_names if name != _ROW})
