"""A GRU over the sequence of a user's items that predicts the next one.

Source: Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks" (ICLR 2016), with softmax
cross-entropy, over the catalogue or a sample of it, in place of its losses, and one table of item embeddings for input
and output.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

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
            reset_after=False,  # the variant that TensorFlow's fused GRU cell computes; see _last_state
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
        states = self.gru(embedded, mask=inputs > 0, training=True)  # [B, L, H]
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
        """The GRU's state after the newest item, step by step with TensorFlow's fused cell.

        The Keras layer is a loop of some fifteen small ops per step; the fused cell is one op. At batch 1 and L = 50
        that is 1.2 ms against 8 ms. A test holds the two to the same result.

        Args:
            items: int32 [B, L], zeros only at the left.

        Returns:
            float32 [B, H], zeros where there was no item.
        """
        size = self.config.hidden_size
        kernel, recurrent, bias = (tf.convert_to_tensor(weight) for weight in self.gru.cell.weights)
        weights = tf.concat(
            [kernel, recurrent], axis=0
        )  # [D + H, 3 H], Keras' order of gates: update, reset, candidate
        update_weights, reset_weights, candidate_weights = tf.split(weights, 3, axis=1)
        gates: dict[str, Any] = {
            "w_ru": tf.concat([reset_weights, update_weights], axis=1),  # [D + H, 2 H]
            "w_c": candidate_weights,  # [D + H, H]
            "b_ru": tf.concat([bias[size : 2 * size], bias[:size]], axis=0),  # [2 H]
            "b_c": bias[2 * size :],  # [H]
        }
        embedded = tf.unstack(tf.transpose(self.items.embed(items), [1, 0, 2]), axis=0)  # L times [B, D]
        present = tf.unstack(tf.transpose(tf.cast(items > 0, tf.float32))[:, :, tf.newaxis], axis=0)  # L times [B, 1]
        state = tf.zeros([tf.shape(items)[0], size])  # [B, H]
        for step, is_item in zip(embedded, present, strict=True):
            state = tf.raw_ops.GRUBlockCell(x=step, h_prev=state, **gates).h * is_item  # [B, H]
        return state
