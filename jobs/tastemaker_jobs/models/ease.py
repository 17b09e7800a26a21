"""EASE: the linear model that finds each item again from the user's other items, in closed form.

Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW 2019).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import scipy.sparse
import tensorflow as tf

from tastemaker_jobs.errors import ConfigError
from tastemaker_jobs.models.interactions import bag_of_items, item_directions, user_item_matrix
from tastemaker_jobs.models.recommender import ModelConfig, Recommender
from tastemaker_jobs.models.search_space import Domain, LogUniform
from tastemaker_jobs.models.training_data import TrainingData
from tastemaker_jobs.training.progress import Report
from tastemaker_jobs.training.request import Trained
from tastemaker_jobs.training.validation import Validation, score_function

__all__ = ["Ease", "EaseConfig", "item_weights"]


@dataclass(frozen=True)
class EaseConfig(ModelConfig):
    """Settings of EASE."""

    l2: float = 200.0
    """The paper's lambda: factor of the squared weights. The more users, the more of it. Above 0."""
    max_items: int = 20_000
    """Larger catalogues are refused: learning needs 24 bytes per pair of items, 10 GB at 20,000. 1 or more."""


class Ease(Recommender):
    """Weights [I, I], 0 on the diagonal; an item's score is the sum of its column over the history."""

    name_in_registry = "ease"
    config_class = EaseConfig
    search_space: ClassVar[Mapping[str, Domain]] = {
        "l2": LogUniform(20.0, 2000.0),
    }

    def __init__(self, config: EaseConfig, *, item_count: int, seed: int) -> None:
        super().__init__(config, item_count=item_count, seed=seed)
        if item_count > config.max_items:
            raise ConfigError(
                f"EaseConfig: {item_count} items are more than max_items, {config.max_items}: their weights would take"
                f" {item_count**2 * 4 / 1e9:.1f} GB in the model, and learning them six times as much memory. Raise"
                " max_items if there is that much, or take item_knn or als."
            )
        self.item_weights = self.add_weight(
            shape=(item_count, item_count), initializer="zeros", trainable=False, name="item_weights"
        )
        self._directions = np.ones((item_count, 1), dtype=np.float32)  # [I, D]

    def learn(self, data: TrainingData, *, validation: Validation, seed: int, report: Report) -> Trained:
        """See `Recommender.learn`; computed."""
        del seed, report  # no epochs, and no randomness
        began = time.monotonic()
        matrix = user_item_matrix(data, add_repeats=False)  # [U, I]
        self.item_weights.assign(item_weights(matrix, l2=self.config.l2))
        self._directions = item_directions(matrix)
        seconds = time.monotonic() - began
        return Trained(epochs=0, best_epoch=0, valid_ndcg=validation.ndcg(score_function(self)), seconds=seconds)

    def score_items(self, history: tf.Tensor) -> tf.Tensor:
        """Sum of the rows of the history's items; order and repetition do not matter."""
        bag = bag_of_items(history, self.item_count)  # [B, I]
        return tf.sparse.sparse_dense_matmul(bag, tf.convert_to_tensor(self.item_weights))  # [B, I]

    def contributions(self, history: tf.Tensor, item: tf.Tensor) -> tf.Tensor:
        """The weight from each item of the history to the item."""
        column = tf.broadcast_to(item[:, tf.newaxis] - 1, tf.shape(history))  # [B, T]
        cells = tf.stack([tf.maximum(history - 1, 0), column], axis=2)  # [B, T, 2]
        return tf.where(history > 0, tf.gather_nd(tf.convert_to_tensor(self.item_weights), cells), 0.0)

    def item_vectors(self) -> tf.Tensor:
        """Short vectors of who has the item; the weights say what goes with an item, not what is like it."""
        return tf.constant(self._directions)


def item_weights(matrix: scipy.sparse.csr_matrix, *, l2: float) -> npt.NDArray[np.float32]:
    """The paper's equation 8.

    Args:
        matrix: X, [U, I].
        l2: Lambda.

    Returns:
        B, float32 [I, I], 0 on the diagonal: what minimises |X - X B|² + lambda |B|².
    """
    gram = (matrix.T @ matrix).toarray()  # [I, I]
    gram[np.diag_indices_from(gram)] += l2
    inverse = np.linalg.inv(gram)  # [I, I]
    weights: npt.NDArray[np.float32] = np.asarray(inverse / -np.diag(inverse), dtype=np.float32)  # [I, I]
    np.fill_diagonal(weights, 0.0)
    return weights
