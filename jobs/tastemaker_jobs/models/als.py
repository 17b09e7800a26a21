"""Matrix factorisation by alternating least squares; a user's factors are solved for when they ask.

Learning is the library `implicit`'s. Serving folds in any history, so users need not have been there in training.

Source: Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets" (ICDM 2008).
"""

import importlib.util
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import tensorflow as tf

from tastemaker_jobs.errors import ConfigError
from tastemaker_jobs.models.interactions import distinct_items, user_item_matrix
from tastemaker_jobs.models.recommender import ModelConfig, Recommender
from tastemaker_jobs.models.search_space import Choice, Domain, LogUniform
from tastemaker_jobs.models.training_data import TrainingData
from tastemaker_jobs.training.progress import Report
from tastemaker_jobs.training.request import Trained
from tastemaker_jobs.training.validation import Validation, score_function

__all__ = ["Als", "AlsConfig"]


@dataclass(frozen=True)
class AlsConfig(ModelConfig):
    """Settings of ALS."""

    factors: int = 64
    """D. 1 or more."""
    l2: float = 0.15
    """The paper's lambda, factor of the squared factors, per event that a user has on average: where histories are
    short, less of it already draws everything to 0. Above 0."""
    confidence: float = 2.0
    """The paper's c: how much an event of weight 1 counts; an item that the user has not had counts 1. Above 0."""
    iterations: int = 15
    """How often users and items are solved for in turn. 1 or more."""


class Als(Recommender):
    """Item factors [I, D] and what all items say of a user together [D, D]; scores by dot product."""

    name_in_registry = "als"
    config_class = AlsConfig
    search_space: ClassVar[Mapping[str, Domain]] = {
        "confidence": LogUniform(0.5, 20.0),
        "factors": Choice((32, 64, 128)),
        "l2": LogUniform(0.02, 1.0),
    }

    def __init__(self, config: AlsConfig, *, item_count: int, seed: int) -> None:
        super().__init__(config, item_count=item_count, seed=seed)
        size = config.factors
        self.item_factors = self.add_weight(
            shape=(item_count, size), initializer="zeros", trainable=False, name="item_factors"
        )
        self.all_items = self.add_weight(shape=(size, size), initializer="zeros", trainable=False, name="all_items")

    @classmethod
    def for_data(cls, config: Any, data: TrainingData, *, seed: int) -> Self:
        """See `Recommender.for_data`.

        Raises:
            ConfigError: There is no `implicit`, which is compiled and not to be had for every platform.
        """
        if importlib.util.find_spec("implicit") is None:
            raise ConfigError(
                "als learns with the library implicit, which is not installed here. Install tastemaker[jobs] on a"
                " platform that implicit has a wheel for, or take ease or item_knn."
            )
        return super().for_data(config, data, seed=seed)

    def learn(self, data: TrainingData, *, validation: Validation, seed: int, report: Report) -> Trained:
        """See `Recommender.learn`; solved by `implicit`, in one thread so that a seed gives one model.

        Repeated events add up: the paper's confidence grows with them.
        """
        del report  # the library tells of no epochs
        import threadpoolctl  # both here, as only learning needs them
        from implicit.cpu.als import AlternatingLeastSquares

        began = time.monotonic()
        matrix = user_item_matrix(data, add_repeats=True)  # [U, I]
        l2 = self.config.l2 * matrix.sum() / matrix.shape[0]
        with threadpoolctl.threadpool_limits(1, "blas"):  # implicit warns without it: its own threads would fight BLAS'
            solver = AlternatingLeastSquares(
                factors=self.config.factors,
                regularization=l2,
                alpha=self.config.confidence,
                iterations=self.config.iterations,
                num_threads=1,
                random_state=seed,
            )
            solver.fit(matrix.astype(np.float32), show_progress=False)
        factors = solver.item_factors.astype(np.float64)  # [I, D]
        self.item_factors.assign(factors)
        self.all_items.assign(factors.T @ factors + l2 * np.eye(self.config.factors))
        seconds = time.monotonic() - began
        return Trained(epochs=0, best_epoch=0, valid_ndcg=validation.ndcg(score_function(self)), seconds=seconds)

    def score_items(self, history: tf.Tensor) -> tf.Tensor:
        """Scores from the set of items; order and repetition do not matter."""
        items = distinct_items(history)  # [B, T]
        system, factors = self._system(items)  # [B, D, D], [B, T, D]
        wanted = self.config.confidence * tf.reduce_sum(factors, axis=1)  # [B, D]
        user = tf.linalg.cholesky_solve(tf.linalg.cholesky(system), wanted[:, :, tf.newaxis])[:, :, 0]  # [B, D]
        return tf.matmul(user, self.item_vectors(), transpose_b=True)  # [B, I]

    def contributions(self, history: tf.Tensor, item: tf.Tensor) -> tf.Tensor:
        """Each item's part of the score, a sum over the history once the user's system is solved (section 5)."""
        system, _ = self._system(distinct_items(history))  # [B, D, D]
        of_item = tf.gather(self.item_vectors(), item - 1)[:, :, tf.newaxis]  # [B, D, 1]
        solved = tf.linalg.cholesky_solve(tf.linalg.cholesky(system), of_item)  # [B, D, 1]
        part = tf.matmul(self._factors_of(history), solved)[:, :, 0]  # [B, T]
        return self.config.confidence * part

    def item_vectors(self) -> tf.Tensor:
        """The item factors."""
        return tf.convert_to_tensor(self.item_factors)  # [I, D]

    def _factors_of(self, items: tf.Tensor) -> tf.Tensor:
        """int32 [B, T] to float32 [B, T, D], zeros where there is no item."""
        known = tf.cast(items > 0, tf.float32)[:, :, tf.newaxis]  # [B, T, 1]
        return tf.gather(self.item_vectors(), tf.maximum(items - 1, 0)) * known

    def _system(self, items: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Yt C Y + lambda of each user [B, D, D] (the paper's equation 4), and the items' factors [B, T, D]."""
        factors = self._factors_of(items)  # [B, T, D]
        more = (self.config.confidence - 1) * tf.matmul(factors, factors, transpose_a=True)  # [B, D, D]
        return tf.convert_to_tensor(self.all_items) + more, factors
