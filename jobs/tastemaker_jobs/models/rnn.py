"""A GRU over the sequence of a user's items that predicts the next one.

Source: Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks" (ICLR 2016), with softmax
cross-entropy, over the catalogue or a sample of it, in place of its losses, and one table of item embeddings for input
and output.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from tastemaker_jobs.models.fused_gru import all_states, last_state
from tastemaker_jobs.models.histories import newest_items
from tastemaker_jobs.models.next_items import ItemTable, NextItemConfig, has_next, windows
from tastemaker_jobs.models.recommender import Examples, GradientRecommender
from tastemaker_jobs.models.search_space import Choice, Domain, LogUniform, Uniform
from tastemaker_jobs.models.training_data import TrainingData

__all__ = ["Rnn", "RnnConfig"]


@dataclass(frozen=True)
class RnnConfig(NextItemConfig):
    """Settings of the GRU."""

    epochs: int = 20
    """Passes over the training data at most. 1 or more."""
    patience_epochs: int = 6
    """Training stops after this many epochs without a better validation score. 1 or more."""
    batch_size: int = 64
    """Windows per step. 1 or more."""
    learning_rate: float = 8e-3
    """Adam's step size. Half of it scored less on MovieLens 100K, in one run. Above 0."""
    hidden_size: int = 128
    """H, of the GRU's state. 1 or more."""
    dropout: float = 0.5
    """Share of embedding and of state values that training drops. 0 to 1."""


class Rnn(GradientRecommender):
    """Item embeddings [I + 1, D], a GRU [H], a projection to [D], scores by dot product with the embeddings."""

    name_in_registry = "rnn"
    config_class = RnnConfig
    search_space: ClassVar[Mapping[str, Domain]] = {
        "dropout": Uniform(0.2, 0.6),
        "embedding_size": Choice((64, 128, 256)),
        "hidden_size": Choice((64, 128, 256)),
        "learning_rate": LogUniform(1e-3, 2e-2),
    }

    def __init__(self, config: RnnConfig, *, item_count: int, seed: int) -> None:
        super().__init__(config, item_count=item_count, seed=seed)
        seeds = iter(range(seed * 16, seed * 16 + 16))  # every random part has its own
        self.items = ItemTable(config, item_count=item_count, seed=next(seeds))
        self.gru = keras.layers.GRU(
            config.hidden_size,
            kernel_initializer=keras.initializers.GlorotUniform(next(seeds)),
            recurrent_initializer=keras.initializers.Orthogonal(seed=next(seeds)),
            reset_after=False,  # the variant that TensorFlow's fused GRU cell computes
            use_cudnn=False,
            return_sequences=True,
        )
        self.projection = keras.layers.Dense(
            config.embedding_size, kernel_initializer=keras.initializers.GlorotUniform(next(seeds))
        )
        self.input_dropout = keras.layers.Dropout(config.dropout, seed=next(seeds))
        self.state_dropout = keras.layers.Dropout(config.dropout, seed=next(seeds))
        self.gru.build((None, None, config.embedding_size))
        self.projection.build((None, config.hidden_size))

    def examples(self, data: TrainingData, rng: np.random.Generator) -> Examples:
        """Windows of L + 1 items."""
        return windows(data, self.config.max_history, rng)

    def training_loss(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Cross-entropy of each next item, mean over all positions that have one."""
        inputs = batch["items"][:, :-1]  # [B, L]
        embedded = self.input_dropout(self.items.embed(inputs), training=True)  # [B, L, D]
        states = all_states(embedded, inputs > 0, self.gru.cell.weights)  # [B, L, H]
        known = tf.boolean_mask(states, has_next(batch["items"]))  # [M, H]
        return self.items.loss(self.projection(self.state_dropout(known, training=True)), batch)

    def score_items(self, history: tf.Tensor) -> tf.Tensor:
        """Scores of the next item; of an empty history the popularity."""
        items = newest_items(history, self.config.max_history)  # [B, L]
        vector = self.projection(self._last_state(items))  # [B, D]
        return self.items.scores(vector * tf.cast(items[:, -1:] > 0, tf.float32))  # [B, I]

    def item_vectors(self) -> tf.Tensor:
        """The item embeddings."""
        return self.items.vectors()  # [I, D]

    def _last_state(self, items: tf.Tensor) -> tf.Tensor:
        """int32 [B, L], zeros only at the left, to float32 [B, H], zeros where there was no item."""
        return last_state(self.items.embed(items), items > 0, self.gru.cell.weights)
