"""Items that the same users have: a user is shown the nearest neighbours of what they have.

Source: Deshpande and Karypis, "Item-Based Top-N Recommendation Algorithms" (TOIS 2004), which gives all users one
length before items are compared; the shrinkage of the cosine as in Bell and Koren, "Improved Neighborhood-based
Collaborative Filtering" (KDD Cup 2007).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import scipy.sparse
import tensorflow as tf

from tastemaker_jobs.models.interactions import (
    bag_of_items,
    item_directions,
    lighten_heavy_users,
    user_item_matrix,
)
from tastemaker_jobs.models.recommender import ModelConfig, Recommender
from tastemaker_jobs.models.search_space import Choice, Domain, LogUniform
from tastemaker_jobs.models.training_data import TrainingData
from tastemaker_jobs.training.progress import Report
from tastemaker_jobs.training.request import Trained
from tastemaker_jobs.training.validation import Validation, score_function

__all__ = ["ItemKnn", "ItemKnnConfig"]

_ITEMS_AT_ONCE = 512  # so that a catalogue of any size needs no more than this many rows of similarities in memory


@dataclass(frozen=True)
class ItemKnnConfig(ModelConfig):
    """Settings of item-kNN."""

    neighbours: int = 50
    """N: how many items each item speaks for. 1 or more."""
    shrinkage: float = 3.0
    """Added below the cosine's fraction, so that a few users in common are no proof of likeness. 0 or more."""

    @classmethod
    def _in_range(cls, name: str, value: Any) -> bool:
        return bool(value >= 0) if name == "shrinkage" else super()._in_range(name, value)


class ItemKnn(Recommender):
    """Each item's N nearest neighbours and their similarities [I, N]; an item's score is the sum over the history."""

    name_in_registry = "item_knn"
    config_class = ItemKnnConfig
    search_space: ClassVar[Mapping[str, Domain]] = {
        "neighbours": Choice((20, 50, 100, 200)),
        "shrinkage": LogUniform(0.3, 100.0),
    }

    def __init__(self, config: ItemKnnConfig, *, item_count: int, seed: int) -> None:
        super().__init__(config, item_count=item_count, seed=seed)
        shape = (item_count, min(config.neighbours, item_count))  # [I, N]
        self.neighbours = self.add_weight(
            shape=shape, initializer="zeros", dtype="int32", trainable=False, name="neighbours"
        )
        self.similarities = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="similarities")
        self._directions = np.ones((item_count, 1), dtype=np.float32)  # [I, D]

    def learn(self, data: TrainingData, *, validation: Validation, seed: int, report: Report) -> Trained:
        """See `Recommender.learn`; computed."""
        del seed, report  # no epochs, and no randomness
        began = time.monotonic()
        matrix = user_item_matrix(data, add_repeats=False)  # [U, I]
        of_one_length = lighten_heavy_users(matrix, power=0.5)
        neighbours, similarities = _nearest(of_one_length, self.neighbours.shape[1], shrinkage=self.config.shrinkage)
        self.neighbours.assign(neighbours)
        self.similarities.assign(similarities)
        self._directions = item_directions(matrix)
        seconds = time.monotonic() - began
        return Trained(epochs=0, best_epoch=0, valid_ndcg=validation.ndcg(score_function(self)), seconds=seconds)

    def score_items(self, history: tf.Tensor) -> tf.Tensor:
        """Sum of the similarities to each item of the history; order and repetition do not matter."""
        of_history = bag_of_items(history, self.item_count).indices  # [M, 2], row and item
        neighbours = tf.gather(tf.convert_to_tensor(self.neighbours), of_history[:, 1])  # [M, N]
        similarities = tf.gather(tf.convert_to_tensor(self.similarities), of_history[:, 1])  # [M, N]
        row = tf.broadcast_to(tf.cast(of_history[:, :1], tf.int32), tf.shape(neighbours))  # [M, N]
        shape = tf.stack([tf.shape(history)[0], self.item_count])
        return tf.scatter_nd(tf.stack([row, neighbours], axis=2), similarities, shape)  # [B, I]

    def contributions(self, history: tf.Tensor, item: tf.Tensor) -> tf.Tensor:
        """The similarity of the item to each item of the history, where it is one of its neighbours."""
        place = tf.maximum(history - 1, 0)  # [B, T]
        is_item = tf.gather(tf.convert_to_tensor(self.neighbours), place) == item[:, tf.newaxis, tf.newaxis] - 1
        similarities = tf.gather(tf.convert_to_tensor(self.similarities), place)  # [B, T, N]
        of_item = tf.reduce_sum(tf.where(is_item, similarities, 0.0), axis=2)  # [B, T]
        return tf.where(history > 0, of_item, 0.0)

    def item_vectors(self) -> tf.Tensor:
        """Short vectors of who has the item; see `item_directions`."""
        return tf.constant(self._directions)


def _nearest(
    matrix: scipy.sparse.csr_matrix, count: int, *, shrinkage: float
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Of each item, the most similar others.

    Args:
        matrix: [U, I].
        count: N.
        shrinkage: Added to the product of lengths.

    Returns:
        Columns [I, N] and similarities [I, N], the nearest first, the more popular first of equals.
    """
    columns = matrix.tocsc()
    length = np.sqrt(np.asarray(columns.multiply(columns).sum(axis=0)).ravel())  # [I]
    neighbours = np.zeros((len(length), count), dtype=np.int32)  # [I, N]
    similarities = np.zeros((len(length), count), dtype=np.float32)  # [I, N]
    for start in range(0, len(length), _ITEMS_AT_ONCE):
        rows = np.arange(start, min(start + _ITEMS_AT_ONCE, len(length)))  # [R]
        common = (columns[:, rows].T @ columns).toarray()  # [R, I]
        below = np.maximum(np.outer(length[rows], length) + shrinkage, 1e-12)  # [R, I]; an item may have no event
        similarity = common / below
        similarity[np.arange(len(rows)), rows] = 0.0  # not its own neighbour
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :count]  # [R, N]
        neighbours[rows] = nearest
        similarities[rows] = np.take_along_axis(similarity, nearest, axis=1)
    return neighbours, similarities
