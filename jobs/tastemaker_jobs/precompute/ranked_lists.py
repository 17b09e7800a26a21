"""A model's answers as serialised RankedLists, in one function of TensorFlow: no id becomes an object of Python."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from google.protobuf import descriptor_pb2

from tastemaker.artefacts.v1.state_pb2 import RankedList

__all__ = ["RankedLists", "Ranker", "hashes"]

_HASHES = 1 << 62


class RankedLists(NamedTuple):
    """The lists of a batch."""

    serialised: npt.NDArray[np.object_]
    """[B] bytes, each a RankedList."""
    lengths: npt.NDArray[np.int32]
    """[B]: how many items each has."""
    departed: npt.NDArray[np.int32]
    """[B]: how many were left out of each because they have left the catalogue."""
    hashes: npt.NDArray[np.int64]
    """[B, K] of the answered items, what was left out and padding among them. See `hashes`."""
    is_full: npt.NDArray[np.bool_]
    """[B]: whether the answer had an item in its last place, so that more might have come."""


class Ranker:
    """Asks a signature, cuts its answers to a length, leaves out what has left the catalogue, and serialises."""

    def __init__(self, ask: Callable[..., Any], asked: tf.TensorSpec, *, k: int, departed: Collection[bytes]) -> None:
        """Trace the function.

        Args:
            ask: `recommend` or `similar` of a model.
            asked: The input of it that says for whom or what: `history` [B, T] or `item_id` [B], string.
            k: Items in a list at most.
            departed: Items that are in no list.
        """
        self._ask, self._name, self._k, self._departed = ask, asked.name, k, None
        if departed:
            gone = tf.constant(sorted(departed))
            initializer = tf.lookup.KeyValueTensorInitializer(gone, tf.ones_like(gone, tf.int32))
            self._departed = tf.lookup.StaticHashTable(initializer, 0)
        self._descriptors = b"bytes://" + _descriptors().SerializeToString()
        places, number = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([], tf.int32)
        self._function = tf.function(self._answer).get_concrete_function(
            tf.TensorSpec([None], tf.string), tf.TensorSpec(asked.shape, tf.int32), places, number, number
        )

    def __call__(
        self, ids: tf.Tensor, asked: npt.NDArray[np.int32], excluded: npt.NDArray[np.int32], *, rows: int, k: int
    ) -> RankedLists:
        """The lists of a batch.

        Args:
            ids: [I] string; what follows are places in it.
            asked: [R, T] or [R].
            excluded: [R, E].
            rows: B, of R: the others only fill the batch up.
            k: K, how many items the model is asked for.
        """
        answer = self._function(ids, *map(tf.constant, (asked, excluded, rows, k)))
        return RankedLists(*(part.numpy() for part in answer))

    def _answer(
        self, ids: tf.Tensor, asked: tf.Tensor, excluded: tf.Tensor, rows: tf.Tensor, k: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        answer = self._ask(**{self._name: tf.gather(ids, asked)}, exclude=tf.gather(ids, excluded), k=k)
        return self._lists(answer["item_id"], answer["score"], rows)

    def _lists(self, item_id: tf.Tensor, score: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
        item_id, score = item_id[:rows], score[:rows]  # [B, K]
        hashed = hashes(item_id)  # [B, K]
        is_full = tf.strings.length(item_id[:, -1]) > 0  # [B]
        width = tf.shape(item_id)[1]
        length = tf.cond(
            tf.reduce_all(is_full), lambda: tf.fill([rows], width), lambda: _places_before_padding(item_id)
        )  # [B]
        dropped = tf.zeros_like(length)  # [B]
        if self._departed is not None:
            is_there = tf.sequence_mask(length, width)  # [B, K]
            is_kept = is_there & (self._departed.lookup(item_id) == 0)  # [B, K]
            count = tf.cumsum(tf.cast(is_kept, tf.int32), axis=1)  # [B, K]
            dropped = tf.reduce_sum(tf.cast(is_there & ~is_kept & (count < self._k), tf.int32), axis=1)
            length = count[:, -1]
            item_id = tf.ragged.boolean_mask(item_id, is_kept).to_tensor("")  # [B, <= K]
            score = tf.ragged.boolean_mask(score, is_kept).to_tensor()  # [B, <= K]
        length = tf.minimum(length, self._k)
        serialised = tf.io.encode_proto(
            sizes=tf.stack([length, length], axis=1),
            values=[item_id, score],
            field_names=["item_ids", "scores"],
            message_type=RankedList.DESCRIPTOR.full_name,
            descriptor_source=self._descriptors,
        )  # [B]
        return serialised, length, dropped, hashed, is_full


def hashes(ids: tf.Tensor) -> tf.Tensor:
    """A number of 62 bits for each id; two ids share one hardly ever."""
    return tf.strings.to_hash_bucket_fast(ids, _HASHES)


def _places_before_padding(item_id: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.math.cumprod(tf.cast(tf.strings.length(item_id) > 0, tf.int32), axis=1), axis=1)


def _descriptors() -> descriptor_pb2.FileDescriptorSet:
    """The files that define a RankedList, what they import first."""
    found: dict[str, Any] = {}

    def add(file: Any) -> None:
        for imported in file.dependencies:
            add(imported)
        found[file.name] = file

    add(RankedList.DESCRIPTOR.file)
    files = descriptor_pb2.FileDescriptorSet()
    for file in found.values():
        file.CopyToProto(files.file.add())
    return files
