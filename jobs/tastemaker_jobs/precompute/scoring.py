"""One shard scored by a SavedModel that is loaded once. Ray, if there is any, holds it in an actor."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from google.protobuf.message import DecodeError
from pyarrow import parquet

from tastemaker.artefacts.v1.state_pb2 import RankedList
from tastemaker_jobs.errors import ContractError
from tastemaker_jobs.evaluation.served import loaded_with
from tastemaker_jobs.precompute.exclusion import Overlaps
from tastemaker_jobs.precompute.generations import read_manifest
from tastemaker_jobs.precompute.padding import padded, rounded_up
from tastemaker_jobs.precompute.plan import Plan
from tastemaker_jobs.precompute.ranked_lists import RankedLists, Ranker, hashes
from tastemaker_jobs.precompute.request import Kind
from tastemaker_jobs.precompute.shards import ShardRecord, ShardWriter, check_shard, finish_shard, open_shard

__all__ = ["Scorer"]

_MOST_CELLS = 1 << 21  # of `exclude` in one batch: beside users who consumed very much, a batch has fewer rows
_LEAST_MORE = 8
_CARRIED_ROWS = 1024

_EMPTY, _DEPARTED, _NO_LONGER_ASKED = "nothing_to_recommend", "item_not_in_catalogue", "no_longer_asked"


class Scorer:
    """A SavedModel, and what it is asked for."""

    def __init__(self, plan: Plan) -> None:
        """Load the model.

        Args:
            plan: Of the run; its request has a model.

        Raises:
            ModelLoadError: The model is corrupt or lacks the signature.
            ListsError: The parent's manifest cannot be read.
        """
        request = plan.request
        if request.model is None:
            raise ValueError("a model is needed")
        signature, asked = "recommend", tf.TensorSpec([None, None], tf.string, "history")
        if request.kind is Kind.SIMILAR:
            signature, asked = "similar", tf.TensorSpec([None], tf.string, "item_id")
        self._plan, self._folder = plan, request.model.folder
        self._loaded = loaded_with(self._folder, signature)  # kept: the signatures hold its variables weakly
        self._departed = _lines(plan.departed)
        self._rank = Ranker(self._loaded.signatures[signature], asked, k=request.k, departed=self._departed)
        self._overlaps = Overlaps()
        carried = read_manifest(plan.parent.folder).shards if plan.parent is not None else []
        self._carried_sha256 = {shard.file: shard.sha256 for shard in carried}
        # So many more are asked for than a list takes, as some of them may have left the catalogue.
        self._more = min(len(self._departed), max(_LEAST_MORE, request.k // _LEAST_MORE))

    def score(self, number: int) -> ShardRecord:
        """Score a shard whose questions are written, and write it.

        Args:
            number: Of the shard.

        Raises:
            ContractError: The model lists what was excluded, or ids that are no text.
            ListsError: The disk is full, or the like; or the parent's shard is damaged.
        """
        began, plan, left_out = time.perf_counter(), self._plan, Counter[str]()
        if plan.parent is not None:
            check_shard(plan.parent.folder / plan.shard(number).name, self._carried_sha256)
        with pa.memory_map(str(plan.questions(number))) as file, open_shard(plan, number) as writer:
            questions = pa.ipc.open_file(file)
            said = questions.schema.metadata
            left_out.update(json.loads(said[b"skipped"]))
            asked: list[pa.Array] = []
            items = _Items(questions)
            for place in range(questions.num_record_batches):
                batch = questions.get_batch(place)
                for rows in self._batches(batch):
                    self._score_rows(rows, items, writer, left_out)
                if plan.parent is not None:
                    asked.append(batch.column("key"))
            carried = 0
            if plan.parent is not None:
                wanted = pa.array(json.loads(said[b"carried"]), pa.string())
                still_asked = pa.concat_arrays([wanted, *asked])
                before = plan.parent.folder / plan.shard(number).name
                carried = self._carry(before, wanted, still_asked, writer, left_out)
        seconds = time.perf_counter() - began
        record = finish_shard(plan, number, list_count=writer.count, carried=carried, skipped=left_out, seconds=seconds)
        # Not before the record counts: a worker that takes over would miss them.
        plan.questions(number).unlink(missing_ok=True)
        return record

    def _batches(self, rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Rows in batches that the model can take at once."""
        start = 0
        while start < len(rows):
            size = self._plan.request.batch_size
            if "exclude" in rows.schema.names:  # sorted: the last one has the most
                longest = len(rows.column("exclude")[min(start + size, len(rows)) - 1])
                size = max(1, min(size, _MOST_CELLS // max(1, longest)))
            yield rows.slice(start, size)
            start += size

    def _score_rows(self, rows: pa.RecordBatch, items: "_Items", writer: ShardWriter, left_out: Counter[str]) -> None:
        asked, excluded = self._places(rows)
        k = self._plan.request.k
        while True:
            lists = self._rank(items.ids, asked, excluded, rows=len(rows), k=k + self._more)
            if self._more >= len(self._departed) or not np.any((lists.lengths < k) & lists.is_full):
                break
            self._more = min(len(self._departed), 2 * self._more)
        keys = rows.column("key")
        if pa.types.is_dictionary(keys.type):
            keys = keys.dictionary_decode()
        self._check_is_text(lists)
        self._check_excluded(keys, lists, excluded[: len(rows)], items)
        has_list = lists.lengths > 0  # [B]
        left_out[_DEPARTED] += int(lists.departed.sum())
        left_out[_EMPTY] += int((~has_list).sum())
        values = pa.array(lists.serialised.tolist(), pa.binary())
        if not has_list.all():
            keys, values = keys.filter(pa.array(has_list)), values.filter(pa.array(has_list))
        writer.add(keys, values)

    def _places(self, rows: pa.RecordBatch) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """For whom or what the model is asked, [B, T] or [B], and what is excluded, [B, E], as places among the items.

        B is as many as there are rows, filled up to a round number.
        """
        count = rounded_up(len(rows), most=max(len(rows), self._plan.request.batch_size))  # B
        if "exclude" not in rows.schema.names:
            keys = pa.ListArray.from_arrays(pa.array([0, len(rows)], pa.int32()), rows.column("key"))
            return padded(keys, rows=1, width=count, left=False)[0], np.zeros((count, 1), np.int32)
        exclude = rows.column("exclude")
        most = rounded_up(int(np.max(exclude.value_lengths().to_numpy())))  # E
        history = padded(rows.column("history"), rows=count, width=self._plan.request.history_length, left=True)
        return history, padded(exclude, rows=count, width=most, left=False)

    def _check_is_text(self, lists: RankedLists) -> None:
        """Nobody could read a list of other ids. One list of each batch is read: all come from one vocabulary."""
        try:
            RankedList.FromString(lists.serialised[0])
        except DecodeError as error:
            raise ContractError(
                f"{self._folder} lists items whose ids are not UTF-8. Publish a version with ids that are text."
            ) from error

    def _check_excluded(
        self, keys: pa.Array, lists: RankedLists, excluded: npt.NDArray[np.int32], items: "_Items"
    ) -> None:
        """A list must not hold what the user consumed, whatever the model does."""
        for row in self._overlaps.rows(lists.hashes, items.hashes[excluded]):
            found = RankedList.FromString(lists.serialised[row]).item_ids
            if not {item.encode() for item in found}.isdisjoint(tf.gather(items.ids, excluded[row]).numpy().tolist()):
                raise ContractError(
                    f"{self._folder} lists items that were excluded, for user {keys[row]}. Publish a version that"
                    " `tastemaker-jobs publish` finds nothing against."
                )

    def _carry(
        self, shard: Path, wanted: pa.Array, still_asked: pa.Array, writer: ShardWriter, left_out: Counter[str]
    ) -> int:
        """The parent's lists of users for whom nothing has changed, without what has left the catalogue."""
        before = writer.count
        with parquet.ParquetFile(shard) as file:
            for batch in file.iter_batches(batch_size=_CARRIED_ROWS):
                is_gone = pc.invert(pc.is_in(batch.column("key"), value_set=still_asked))
                left_out[_NO_LONGER_ASKED] += pc.sum(is_gone, min_count=0).as_py()
                kept = batch.filter(pc.is_in(batch.column("key"), value_set=wanted))
                keys, lists = kept.column("key"), kept.column("list")
                if self._departed:
                    whole = [self._without_departed(value, left_out) for value in lists.to_pylist()]
                    lists = pa.array(whole, pa.binary())
                    has_list = pc.greater(pc.binary_length(lists), 0)
                    left_out[_EMPTY] += len(lists) - pc.sum(has_list, min_count=0).as_py()
                    keys, lists = keys.filter(has_list), lists.filter(has_list)
                writer.add(keys, lists)
        return writer.count - before

    def _without_departed(self, value: bytes, left_out: Counter[str]) -> bytes:
        ranked = RankedList.FromString(value)
        kept = [
            pair for pair in zip(ranked.item_ids, ranked.scores, strict=True) if pair[0].encode() not in self._departed
        ]
        left_out[_DEPARTED] += len(ranked.item_ids) - len(kept)
        return RankedList(item_ids=[item for item, _ in kept], scores=[score for _, score in kept]).SerializeToString()


class _Items:
    """The items that a shard's questions name, [I + 1]: place 0 is for padding."""

    def __init__(self, questions: Any) -> None:
        known: list[bytes] = []
        if questions.num_record_batches:
            first = questions.get_batch(0)
            column = first.column("exclude").values if "exclude" in first.schema.names else first.column("key")
            known = column.dictionary.cast(pa.binary()).to_pylist()
        self.ids = tf.constant([b"", *known])
        """[I + 1] string."""
        self.hashes: npt.NDArray[np.int64] = hashes(self.ids).numpy()
        """[I + 1] of the ids; -1 for padding."""
        self.hashes[0] = -1


def _lines(path: Path) -> frozenset[bytes]:
    return frozenset(path.read_bytes().split(b"\n")[:-1]) if path.is_file() else frozenset()
