"""Convolutions over a user's newest items, beside the mean of the whole history, that predict the next one.

Source: Tang and Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence Embedding" (WSDM 2018):
Caser. Its learnt vector of each user, which new users have not, is replaced by the mean embedding of what the user has
had so far; its binary loss by cross-entropy over the catalogue; its output embeddings by those of the input.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from tastemaker_jobs.models.histories import newest_items
from tastemaker_jobs.models.next_items import ItemTable, NextItemConfig, has_next, windows
from tastemaker_jobs.models.recommender import Examples, GradientRecommender
from tastemaker_jobs.models.search_space import Choice, Domain, LogUniform, Uniform
from tastemaker_jobs.models.training_data import TrainingData

__all__ = ["Cnn", "CnnConfig"]


@dataclass(frozen=True)
class CnnConfig(NextItemConfig):
    """Settings of the convolutions."""

    epochs: int = 25
    """Passes over the training data at most. 1 or more."""
    patience_epochs: int = 12
    """Training stops after this many epochs without a better validation score. With 6, a lucky early epoch ended the
    training of one seed of three at half its time. 1 or more."""
    batch_size: int = 32
    """Windows per step. 1 or more."""
    learning_rate: float = 4e-3
    """Adam's step size. Above 0."""
    recent: int = 5
    """R: how many of the newest items the filters see in their order; of the others only the mean counts. 1 or more."""
    horizontal_filters: int = 16
    """F: filters of each height 1 to R, which look for runs of so many items anywhere among the newest. 1 or more."""
    vertical_filters: int = 4
    """V: filters that weigh the newest items by their place. 1 or more."""
    input_dropout: float = 0.2
    """Share of embedding values that training drops. 0 to 1."""
    dropout: float = 0.4
    """Share of what filters, hidden layer and mean give that training drops. 0 to 1."""


class Cnn(GradientRecommender):
    """Item embeddings [I + 1, D], filters over the newest R, the mean of all, scores by dot product with embeddings.

    A user is no more than the history: there is nothing to learn of a user first, so new ones work like known ones.
    """

    name_in_registry = "cnn"
    config_class = CnnConfig
    search_space: ClassVar[Mapping[str, Domain]] = {
        "dropout": Uniform(0.2, 0.6),
        "embedding_size": Choice((64, 128, 256)),
        "learning_rate": LogUniform(1e-3, 1e-2),
        "recent": Choice((3, 5, 8)),
    }

    def __init__(self, config: CnnConfig, *, item_count: int, seed: int) -> None:
        super().__init__(config, item_count=item_count, seed=seed)
        seeds = iter(range(seed * 1024, seed * 1024 + 1024))  # every random part has its own
        size, recent = config.embedding_size, config.recent
        self.items = ItemTable(config, item_count=item_count, seed=next(seeds))
        self.horizontal = [
            keras.layers.Conv1D(
                config.horizontal_filters,
                height,
                activation="relu",
                kernel_initializer=keras.initializers.GlorotUniform(next(seeds)),
            )
            for height in range(1, recent + 1)
        ]
        for layer in self.horizontal:
            layer.build((None, recent, size))
        self.vertical = _dense(recent, config.vertical_filters, next(seeds))
        self.hidden = _dense(
            recent * config.horizontal_filters + config.vertical_filters * size, size, next(seeds), activation="relu"
        )
        self.projection = _dense(size, size, next(seeds))
        self.mean_projection = _dense(size, size, next(seeds))
        self.input_dropout = keras.layers.Dropout(config.input_dropout, seed=next(seeds))
        self.dropouts = [keras.layers.Dropout(config.dropout, seed=next(seeds)) for _ in range(3)]

    def examples(self, data: TrainingData, rng: np.random.Generator) -> Examples:
        """Windows of L + 1 items."""
        return windows(data, self.config.max_history, rng)

    def training_loss(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Cross-entropy of each next item, mean over all positions that have one."""
        at = has_next(batch["items"])  # [B, L]
        recent, mean = self._recent_and_mean(batch["items"][:, :-1])  # [B, L, R, D], [B, L, D]
        vector = self._vector(tf.boolean_mask(recent, at), tf.boolean_mask(mean, at), training=True)  # [M, D]
        return self.items.loss(vector, batch)

    def score_items(self, history: tf.Tensor) -> tf.Tensor:
        """Scores of the next item; of an empty history the popularity."""
        items = newest_items(history, self.config.max_history)  # [B, L]
        recent, mean = self._recent_and_mean(items)  # [B, L, R, D], [B, L, D]
        vector = self._vector(recent[:, -1], mean[:, -1], training=False)  # [B, D]
        return self.items.scores(vector * tf.cast(items[:, -1:] > 0, tf.float32))  # [B, I]

    def item_vectors(self) -> tf.Tensor:
        """The item embeddings."""
        return self.items.vectors()  # [I, D]

    def _recent_and_mean(self, items: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What each position sees.

        Args:
            items: int32 [B, L], zeros only at the left.

        Returns:
            The embeddings of the R items up to each position [B, L, R, D], zeros where there are fewer, and the mean of
            all up to it [B, L, D].
        """
        length, before = items.shape[1], self.config.recent - 1
        embedded = self.items.embed(items)  # [B, L, D]
        padded = tf.pad(embedded, [[0, 0], [before, 0], [0, 0]])  # [B, R - 1 + L, D]
        recent = tf.stack([padded[:, back : back + length] for back in range(before + 1)], axis=2)  # [B, L, R, D]
        count = tf.cumsum(tf.cast(items > 0, tf.float32), axis=1)[:, :, tf.newaxis]  # [B, L, 1]
        return recent, tf.math.divide_no_nan(tf.cumsum(embedded, axis=1), count)

    def _vector(self, recent: tf.Tensor, mean: tf.Tensor, *, training: bool) -> tf.Tensor:
        """What should come next: [M, R, D] and [M, D] to [M, D]."""
        filter_dropout, hidden_dropout, mean_dropout = self.dropouts
        recent = self.input_dropout(recent, training=training)  # [M, R, D]
        runs = [tf.reduce_max(layer(recent), axis=1) for layer in self.horizontal]  # R times [M, F]
        weighed = self.vertical(tf.transpose(recent, [0, 2, 1]))  # [M, D, V]
        weighed = tf.reshape(weighed, [-1, self.config.embedding_size * self.config.vertical_filters])  # [M, D V]
        found = filter_dropout(tf.concat([*runs, weighed], axis=1), training=training)  # [M, R F + D V]
        hidden = hidden_dropout(self.hidden(found), training=training)  # [M, D]
        return self.projection(hidden) + self.mean_projection(mean_dropout(mean, training=training))  # [M, D]


def _dense(inputs: int, outputs: int, seed: int, activation: str | None = None) -> keras.layers.Dense:
    layer = keras.layers.Dense(outputs, activation, kernel_initializer=keras.initializers.GlorotUniform(seed))
    layer.build((None, inputs))
    return layer
