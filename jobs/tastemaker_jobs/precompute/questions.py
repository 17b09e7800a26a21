"""What the model is asked for one shard: users with their histories and what they consumed, or items. No TensorFlow.

Written as an Arrow file in batches, so that who asks holds one batch at a time. Those with alike numbers of consumed
items stand together, so that a batch has little padding.
"""

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tastemaker_jobs.precompute.buckets import read_bucket
from tastemaker_jobs.precompute.event_files import COLUMNS
from tastemaker_jobs.precompute.plan import Plan
from tastemaker_jobs.precompute.request import Kind
from tastemaker_jobs.precompute.whole_files import whole_file

__all__ = ["histories", "write_questions"]

_BATCH_ROWS = 1024


def write_questions(plan: Plan, number: int) -> int:
    """Write `plan.questions(number)`: columns key, history and exclude for users, key for items.

    Items are places in one dictionary: each id is read once, whatever the number of users.

    The schema's metadata says in `skipped` who was left out and why, and in `carried` whose list the parent has.

    Args:
        plan: Of the run.
        number: Of the shard.

    Returns:
        The same number, for the next step.
    """
    named = read_bucket(plan.keys, number)
    skipped: dict[str, int] = {}
    carried: list[str] = []
    if plan.request.kind is Kind.SIMILAR:
        table = named if named is not None else pa.table({"key": pa.array([], pa.string())})
        table = pa.table({"key": table.column("key").combine_chunks().dictionary_encode()})
    else:
        events = read_bucket(plan.events, number)
        found = histories(events if events is not None else COLUMNS.empty_table(), plan.request.history_length)
        if named is not None:
            asked = pc.is_in(found.column("key"), value_set=named.column("key").combine_chunks())
            skipped = {"user_without_history": len(named) - pc.sum(asked, min_count=0).as_py()}
            found = found.filter(asked)
        if plan.parent is not None:
            is_new = pc.greater(found.column("position"), plan.parent.position)
            carried = found.filter(pc.invert(is_new)).column("key").to_pylist()
            found = found.filter(is_new)
        if plan.active_since_micros is not None:
            found = found.filter(pc.greater_equal(found.column("event_time_micros"), plan.active_since_micros))
        order = np.argsort(pc.list_value_length(found.column("exclude")).to_numpy(), kind="stable")
        table = found.select(["key", "history", "exclude"]).take(pa.array(order))
    said = {"skipped": json.dumps(skipped), "carried": json.dumps(carried)}
    table = table.replace_schema_metadata(said)
    with (
        whole_file(plan.questions(number), aside=plan.generation.drafts) as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table.combine_chunks(), max_chunksize=_BATCH_ROWS)
    return number


def histories(events: pa.Table, length: int) -> pa.Table:
    """Events as users.

    Args:
        events: [N], of `COLUMNS`, in any order.
        length: L.

    Returns:
        [U] key; history, the newest L items, oldest first by time, then by position; exclude, each consumed item once;
        event_time_micros and position of the newest event. Items are places in one dictionary, which is sorted.
    """
    by_time = [("user_id", "ascending"), ("event_time_micros", "ascending"), ("position", "ascending")]
    events = events.sort_by(by_time).combine_chunks()
    encoded = pc.dictionary_encode(events.column("user_id").combine_chunks())
    keys, user = encoded.dictionary, encoded.indices.to_numpy()  # [U], [N] rising
    end = np.cumsum(np.bincount(user, minlength=len(keys)))  # [U]
    ids, item = _encoded(events.column("item_id").combine_chunks())  # [I] sorted, [N]
    is_newest = np.arange(len(user)) >= end[user] - length  # [N]
    is_consumed = events.column("is_consumed").to_numpy()  # [N]
    pairs = np.unique(user[is_consumed].astype(np.int64) * max(1, len(ids)) + item[is_consumed])
    consumer, consumed = np.divmod(pairs, max(1, len(ids)))
    position = np.zeros(len(keys), np.int64)  # [U]
    np.maximum.at(position, user, events.column("position").to_numpy())
    return pa.table(
        {
            "key": keys,
            "history": _lists(item[is_newest], ids, user[is_newest], len(keys)),
            "exclude": _lists(consumed, ids, consumer, len(keys)),
            "event_time_micros": events.column("event_time_micros").to_numpy()[end - 1],
            "position": position,
        }
    )


def _encoded(items: pa.Array) -> tuple[pa.Array, npt.NDArray[np.int32]]:
    """The different ids, sorted; and for each of the items [N] its place among them."""
    encoded = pc.dictionary_encode(items)
    order = pc.sort_indices(encoded.dictionary)
    place = np.empty(len(order), np.int32)
    place[order.to_numpy()] = np.arange(len(order))
    return encoded.dictionary.take(order), place[encoded.indices.to_numpy()]


def _lists(values: npt.NDArray[Any], ids: pa.Array, user: npt.NDArray[Any], users: int) -> pa.Array:
    """Items [M], as places among ids, of users [M], rising, as one list each."""
    ends = np.cumsum(np.bincount(user, minlength=users))
    items = pa.DictionaryArray.from_arrays(pa.array(values.astype(np.int32)), ids)
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], ends]).astype(np.int32)), items)
