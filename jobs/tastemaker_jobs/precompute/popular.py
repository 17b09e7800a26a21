"""What is popular, for everyone and by segment: a user's consumption of an item counts once, less the older."""

import csv
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastemaker.artefacts.v1.state_pb2 import RankedList
from tastemaker_jobs.errors import DataError
from tastemaker_jobs.precompute.buckets import read_bucket
from tastemaker_jobs.precompute.event_files import COLUMNS
from tastemaker_jobs.precompute.plan import Plan
from tastemaker_jobs.precompute.shards import ShardRecord, finish_shard, open_shard
from tastemaker_jobs.precompute.whole_files import whole_file

__all__ = ["count_bucket", "segment_tables", "write_popular"]

_DAY_MICROS = 86_400_000_000
_BATCH_ROWS = 100_000
_COUNTS = pa.schema({"segment": pa.string(), "item_id": pa.string(), "weight": pa.float64()})


def count_bucket(plan: Plan, number: int) -> Path:
    """Count a bucket of users.

    Args:
        plan: Of the run.
        number: Of the bucket.

    Returns:
        An Arrow file of segment ("" is everyone), item_id and weight, each pair once.
    """
    path = plan.questions(number)
    events = read_bucket(plan.events, number)
    events = (events if events is not None else COLUMNS.empty_table()).filter(pc.field("is_consumed"))
    pairs = events.group_by(["user_id", "item_id"]).aggregate([("event_time_micros", "max")])
    age = np.maximum(
        0, plan.now_micros - pairs.column("event_time_micros_max").to_numpy()
    )  # [N]; what is newer counts 1
    weight = 2.0 ** (-age / (plan.request.half_life_days * _DAY_MICROS))  # [N]
    pairs = pairs.select(["user_id", "item_id"]).append_column("weight", pa.array(weight))
    everyone = pairs.append_column("segment", pa.array([""] * len(pairs), pa.string()))
    counted = [everyone.select(_COUNTS.names)]
    segments = read_bucket(plan.segments, number)
    if segments is not None:
        counted.append(pairs.join(segments, "user_id", join_type="inner").select(_COUNTS.names))
    table = _summed(pa.concat_tables(counted))
    with whole_file(path, aside=plan.generation.drafts) as file, pa.ipc.new_file(file, _COUNTS) as writer:
        writer.write_table(table)
    return path


def write_popular(plan: Plan, counted: Sequence[Path]) -> ShardRecord:
    """Add up the buckets and write each segment's k most popular items as the one shard; of equals, by item id.

    Args:
        plan: Of the run.
        counted: What `count_bucket` wrote.

    Raises:
        DataError: Nobody consumed anything.
        ListsError: The disk is full, or the like.
    """
    began, total = time.perf_counter(), _COUNTS.empty_table()
    for path in counted:
        with pa.memory_map(str(path)) as file:
            total = _summed(pa.concat_tables([total, pa.ipc.open_file(file).read_all()]))
    left_out = 0
    if plan.request.catalogue is not None:
        listed = pa.array(json.loads(plan.catalogue.read_text()), pa.string())
        kept = total.filter(pc.is_in(total.column("item_id"), value_set=listed))
        left_out = len(total) - len(kept)
        total = kept
    if not len(total):
        types = ", ".join(plan.request.consuming)
        raise DataError(f"Nobody consumed anything of the catalogue: there is no event of the types {types}.")
    total = total.sort_by([("segment", "ascending"), ("weight", "descending"), ("item_id", "ascending")])
    names, starts = np.unique(total.column("segment").to_numpy(), return_index=True)
    with open_shard(plan, 0) as writer:
        for name, start, end in zip(names.tolist(), starts, [*starts[1:], len(total)], strict=True):
            best = total.slice(start, min(plan.request.k, end - start))
            ranked = RankedList(item_ids=best.column("item_id").to_pylist(), scores=best.column("weight").to_pylist())
            writer.add(pa.array([name], pa.string()), pa.array([ranked.SerializeToString()], pa.binary()))
    return finish_shard(
        plan,
        0,
        list_count=len(names),
        carried=0,
        skipped={"item_not_in_catalogue": left_out},
        seconds=time.perf_counter() - began,
    )


def segment_tables(path: Path) -> Iterator[pa.Table]:
    """A segments file: UTF-8 CSV with the columns user_id and segment. A user may be in several.

    Yields:
        Tables of user_id and segment.

    Raises:
        DataError: It cannot be read, or a line breaks the format.
    """
    schema = pa.schema({"user_id": pa.string(), "segment": pa.string()})
    rows: set[tuple[str, str]] = set()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if missing := {"user_id", "segment"} - set(reader.fieldnames or ()):
                raise DataError(f"{path} has no column {' and no '.join(sorted(missing))}. Give it a header.")
            for row in reader:
                if not row["user_id"] or not row["segment"]:
                    raise DataError(
                        f"{path} line {reader.line_num}: give a user_id and a segment; the empty segment is everyone."
                    )
                rows.add((row["user_id"], row["segment"]))
                if len(rows) == _BATCH_ROWS:
                    yield pa.Table.from_arrays([pa.array(column) for column in zip(*rows, strict=True)], schema=schema)
                    rows = set()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}. Give a CSV file of user_id and segment.") from error
    if rows:
        yield pa.Table.from_arrays([pa.array(column) for column in zip(*sorted(rows), strict=True)], schema=schema)


def _summed(table: pa.Table) -> pa.Table:
    summed = table.group_by(["segment", "item_id"]).aggregate([("weight", "sum")])
    return summed.rename_columns(["segment", "item_id", "weight"]).cast(_COUNTS)
