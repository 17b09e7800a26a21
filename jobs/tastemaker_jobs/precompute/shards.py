"""One finished shard: a Parquet file of key and list, and the record that says so."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from tastemaker_jobs.data.ratings import sha256_of
from tastemaker_jobs.errors import ListsError
from tastemaker_jobs.precompute.plan import Plan
from tastemaker_jobs.precompute.whole_files import whole_file, write_text

__all__ = ["SHARD_SCHEMA", "ShardRecord", "ShardWriter", "check_shard", "finish_shard", "open_shard", "read_record"]

SHARD_SCHEMA = pa.schema({"key": pa.string(), "list": pa.binary()})
"""Of a shard."""

_ROW_GROUP = 2048


@dataclass(frozen=True)
class ShardRecord:
    """What the manifest will say of a shard."""

    file: str
    """Its name."""
    list_count: int
    """How many lists it holds."""
    byte_count: int
    """Of the file."""
    sha256: str
    """Of the file."""
    carried: int = 0
    """How many of the lists come from the parent."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """What was left out, by reason."""
    seconds: float = 0.0
    """How long it took."""
    retries: int = 0
    """How often its worker was lost in the run that finished it; 0 in a record that was read again."""


class ShardWriter:
    """Takes lists, and writes a row group whenever there are enough."""

    def __init__(self, writer: parquet.ParquetWriter) -> None:
        self._writer = writer
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_count = 0
        self.count = 0
        """Of lists so far."""

    def add(self, keys: pa.Array, lists: pa.Array) -> None:
        """Lists, as long as keys, each a serialised RankedList."""
        self._waiting.append(pa.RecordBatch.from_arrays([keys, lists], schema=SHARD_SCHEMA))
        self._waiting_count += len(keys)
        self.count += len(keys)
        if self._waiting_count >= _ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        self._writer.write_table(pa.Table.from_batches(self._waiting, schema=SHARD_SCHEMA))
        self._waiting, self._waiting_count = [], 0


@contextlib.contextmanager
def open_shard(plan: Plan, number: int) -> Iterator[ShardWriter]:
    """A shard to write to: the file appears whole when the block ends well.

    Raises:
        ListsError: The disk is full, or the like.
    """
    with (
        whole_file(plan.shard(number), aside=plan.generation.drafts) as file,
        # No key comes twice, nobody searches by a list: a dictionary and statistics would cost and serve nobody.
        parquet.ParquetWriter(
            file, SHARD_SCHEMA, compression="zstd", use_dictionary=False, write_statistics=False
        ) as target,
    ):
        writer = ShardWriter(target)
        yield writer
        writer.flush()


def finish_shard(
    plan: Plan, number: int, *, list_count: int, carried: int, skipped: Mapping[str, int], seconds: float
) -> ShardRecord:
    """Write the record of a shard whose file is there. From now on no run of this fingerprint computes it again."""
    path = plan.shard(number)
    record = ShardRecord(
        path.name,
        list_count,
        path.stat().st_size,
        sha256_of(path),
        carried=carried,
        skipped={reason: count for reason, count in skipped.items() if count},
        seconds=seconds,
    )
    write_text(plan.record(number), json.dumps(vars(record)), aside=plan.generation.drafts)
    return record


def read_record(plan: Plan, number: int) -> ShardRecord | None:
    """The record of a finished shard; None where it is not finished, or its file is gone."""
    try:
        record = ShardRecord(**json.loads(plan.record(number).read_text()))
        return record if plan.shard(number).stat().st_size == record.byte_count else None
    except FileNotFoundError:
        return None


def check_shard(path: Path, sha256: Mapping[str, str]) -> None:
    """See that a shard of a whole generation is what its manifest says.

    Args:
        path: Of the shard.
        sha256: What the manifest says, by file name.

    Raises:
        ListsError: It is not, or cannot be read.
    """
    try:
        found = sha256_of(path)
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
    else:
        if found == sha256.get(path.name, "").lower():
            return
        problem = "is not what its manifest says (its SHA-256 is another): it was damaged or replaced"
    raise ListsError(f"{path} {problem}. No list is taken over from it: run without --incremental.")
