"""One shard scored by a SavedModel that is loaded once. Ray, if there is any, holds it in an actor."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tensorflow as tf
from pyarrow import parquet

from tastemaker.artefacts.v1.state_pb2 import RankedList
from tastemaker_jobs.errors import ContractError
from tastemaker_jobs.evaluation.served import loaded_with
from tastemaker_jobs.precompute.padding import padded, rounded_up
from tastemaker_jobs.precompute.plan import Plan
from tastemaker_jobs.precompute.request import Kind
from tastemaker_jobs.precompute.shards import ShardRecord, ShardWriter, finish_shard, open_shard

__all__ = ["Scorer"]

_MOST_CELLS = 1 << 21  # of `exclude` in one batch: beside users who consumed very much, a batch has fewer rows
_LEAST_MORE = 8

_EMPTY, _DEPARTED, _NO_LONGER_ASKED = "nothing_to_recommend", "item_not_in_catalogue", "no_longer_asked"


class Scorer:
    """A SavedModel, and what it is asked for."""

    def __init__(self, plan: Plan) -> None:
        """Load the model.

        Args:
            plan: Of the run; its request has a model.

        Raises:
            ModelLoadError: The model is corrupt or lacks the signature.
        """
        request = plan.request
        if request.model is None:
            raise ValueError("a model is needed")
        signature = "similar" if request.kind is Kind.SIMILAR else "recommend"
        self._plan, self._folder = plan, request.model.folder
        self._loaded = loaded_with(self._folder, signature)  # kept: the signatures hold its variables weakly
        self._ask = self._loaded.signatures[signature]
        self._departed = _lines(plan.departed)
        # So many more are asked for than a list takes, as some of them may have left the catalogue.
        self._more = min(len(self._departed), max(_LEAST_MORE, request.k // _LEAST_MORE))

    def score(self, number: int) -> ShardRecord:
        """Score a shard whose questions are written, and write it.

        Args:
            number: Of the shard.

        Raises:
            ContractError: The model lists what was excluded.
            ListsError: The disk is full, or the like.
        """
        began, plan, left_out = time.perf_counter(), self._plan, Counter[str]()
        with pa.memory_map(str(plan.questions(number))) as file, open_shard(plan, number) as writer:
            questions = pa.ipc.open_file(file)
            said = questions.schema.metadata
            left_out.update(json.loads(said[b"skipped"]))
            asked: set[str] = set()
            for place in range(questions.num_record_batches):
                batch = questions.get_batch(place)
                for rows in self._batches(batch):
                    self._score_rows(rows, writer, left_out)
                if plan.parent is not None:
                    asked.update(batch.column("key").to_pylist())
            carried = 0
            if plan.parent is not None:
                carried = self._carry(number, set(json.loads(said[b"carried"])), asked, writer, left_out)
        plan.questions(number).unlink()
        seconds = time.perf_counter() - began
        return finish_shard(plan, number, list_count=writer.count, carried=carried, skipped=left_out, seconds=seconds)

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

    def _score_rows(self, rows: pa.RecordBatch, writer: ShardWriter, left_out: Counter[str]) -> None:
        keys, k = rows.column("key").to_pylist(), self._plan.request.k
        inputs = self._inputs(rows)
        excluded = inputs["exclude"]  # [B, E]
        tensors = {name: tf.constant(value, tf.string) for name, value in inputs.items()}
        while True:
            answer = self._ask(**tensors, k=tf.constant(k + self._more))
            item_ids, scores = answer["item_id"].numpy(), answer["score"].numpy()  # [B, K] each
            lists = [self._list(*row) for row in zip(item_ids[: len(keys)], scores, strict=False)]
            short = any(len(found) < k and item_ids[row, -1] for row, (found, _, _) in enumerate(lists))
            if not short or self._more >= len(self._departed):
                break
            self._more = min(len(self._departed), 2 * self._more)
        self._check(keys, excluded, lists)
        left_out[_DEPARTED] += sum(dropped for _, _, dropped in lists)
        left_out[_EMPTY] += sum(not found for found, _, _ in lists)
        kept = [(key, found, values) for key, (found, values, _) in zip(keys, lists, strict=True) if found]
        serialised = [_serialised(found, values) for _, found, values in kept]
        writer.add([key for key, _, _ in kept], serialised)

    def _inputs(self, rows: pa.RecordBatch) -> dict[str, npt.NDArray[np.object_]]:
        """What the signature takes besides k, B rows of it: as many as there are, filled up to a round number."""
        count = rounded_up(len(rows), most=max(len(rows), self._plan.request.batch_size))  # B
        if "exclude" not in rows.schema.names:
            keys = pa.ListArray.from_arrays(pa.array([0, len(rows)], pa.int32()), rows.column("key"))
            ids = padded(keys, rows=1, width=count, left=False)[0]  # [B]
            return {"item_id": ids, "exclude": np.full((count, 1), b"", dtype=object)}  # [B], [B, 1]
        length = self._plan.request.history_length
        exclude = rows.column("exclude")
        most = rounded_up(int(np.max(exclude.value_lengths().to_numpy())))  # E
        return {
            "history": padded(rows.column("history"), rows=count, width=length, left=True),  # [B, T]
            "exclude": padded(exclude, rows=count, width=most, left=False),  # [B, E]
        }

    def _list(
        self, item_ids: npt.NDArray[np.object_], scores: npt.NDArray[np.float32]
    ) -> tuple[list[bytes], list[float], int]:
        """A row of an answer [K] without padding and without what has left the catalogue; how many those were."""
        items, values = item_ids.tolist(), scores.tolist()
        if items and not items[-1]:
            count = items.index(b"")
            items, values = items[:count], values[:count]
        k, dropped = self._plan.request.k, 0
        if self._departed and not self._departed.isdisjoint(items):
            kept = [place for place, item in enumerate(items) if item not in self._departed][:k]
            within = kept[-1] if len(kept) == k else len(items)
            dropped = sum(item in self._departed for item in items[:within])
            items, values = [items[place] for place in kept], [values[place] for place in kept]
        return items[:k], values[:k], dropped

    def _check(
        self,
        keys: Sequence[str],
        excluded: npt.NDArray[np.object_],
        lists: Sequence[tuple[list[bytes], list[float], int]],
    ) -> None:
        """A list must not hold what the user consumed, whatever the model does."""
        for key, row, (found, _, _) in zip(keys, excluded.tolist(), lists, strict=False):
            if not set(row).isdisjoint(found):
                raise ContractError(
                    f"{self._folder} lists items that were excluded, for user {key}. Publish a version that"
                    " `tastemaker-jobs publish` finds nothing against."
                )

    def _carry(
        self, number: int, wanted: set[str], asked: set[str], writer: ShardWriter, left_out: Counter[str]
    ) -> int:
        """The parent's lists of users for whom nothing has changed, without what has left the catalogue."""
        if self._plan.parent is None:
            return 0
        before = writer.count
        shard = self._plan.parent.folder / self._plan.shard(number).name
        with parquet.ParquetFile(shard) as file:
            for batch in file.iter_batches(batch_size=1024):
                keys, lists = [], []
                for key, value in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    if key in wanted:
                        whole = self._without_departed(value, left_out)
                        left_out[_EMPTY] += not whole
                        keys += [key] if whole else []
                        lists += [whole] if whole else []
                    else:
                        left_out[_NO_LONGER_ASKED] += key not in asked
                writer.add(keys, lists)
        return writer.count - before

    def _without_departed(self, value: bytes, left_out: Counter[str]) -> bytes:
        if not self._departed:
            return value
        ranked = RankedList.FromString(value)
        kept = [
            pair for pair in zip(ranked.item_ids, ranked.scores, strict=True) if pair[0].encode() not in self._departed
        ]
        left_out[_DEPARTED] += len(ranked.item_ids) - len(kept)
        return RankedList(item_ids=[item for item, _ in kept], scores=[score for _, score in kept]).SerializeToString()


def _serialised(item_ids: list[bytes], scores: list[float]) -> bytes:
    """A RankedList. Ids pass as the bytes that TensorFlow gives: protobuf takes them for text, if they are UTF-8."""
    return RankedList(item_ids=item_ids, scores=scores).SerializeToString()  # type: ignore[arg-type]


def _lines(path: Path) -> frozenset[bytes]:
    return frozenset(path.read_bytes().split(b"\n")[:-1]) if path.is_file() else frozenset()
