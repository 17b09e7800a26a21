"""Causal self-attention over the sequence of a user's items that predicts the next one.

Source: Kang and McAuley, "Self-Attentive Sequential Recommendation" (ICDM 2018): SASRec; with softmax cross-entropy in
place of its one sampled negative (Klenitskiy and Vasilev, "Turning Dross Into Gold Loss", RecSys 2023). Positions are
learnt for the distance of an item from the one that looks at it, as in Raffel et al., "Exploring the Limits of Transfer
Learning with a Unified Text-to-Text Transformer" (JMLR 2020), not for places in a window: so they count from the newest
item, whatever the history's length, and each position of a training window teaches the same ones.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from tastemaker_jobs.errors import ConfigError
from tastemaker_jobs.models.histories import newest_items
from tastemaker_jobs.models.next_items import ItemTable, NextItemConfig, has_next, windows
from tastemaker_jobs.models.recommender import Examples, GradientRecommender
from tastemaker_jobs.models.search_space import Choice, Domain, LogUniform, Uniform
from tastemaker_jobs.models.training_data import TrainingData

__all__ = ["Transformer", "TransformerConfig"]


@dataclass(frozen=True)
class TransformerConfig(NextItemConfig):
    """Settings of the transformer."""

    epochs: int = 30
    """Passes over the training data at most. 1 or more."""
    patience_epochs: int = 8
    """Training stops after this many epochs without a better validation score. 1 or more."""
    batch_size: int = 32
    """Windows per step. 1 or more."""
    learning_rate: float = 3e-3
    """Adam's step size. Above 0."""
    blocks: int = 2
    """How often attention and a feed-forward layer follow each other. 1 or more."""
    heads: int = 2
    """Attentions side by side in a block, each over its share of D, which they must divide. 1 or more."""
    max_history: int = 100
    """L: how many of the newest items it looks at, in training and when serving. 1 or more."""
    dropout: float = 0.5
    """Share of embedding, attention and block outputs that training drops. 0 to 1."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: Lists every bad setting.
        """
        super().__post_init__()
        if self.embedding_size % self.heads:
            raise ConfigError(
                f"TransformerConfig: embedding_size is {self.embedding_size}, which {self.heads} heads do not divide."
            )


class Transformer(GradientRecommender):
    """Item embeddings [I + 1, D], blocks of causal self-attention, scores by dot product with the embeddings."""

    name_in_registry = "transformer"
    config_class = TransformerConfig
    search_space: ClassVar[Mapping[str, Domain]] = {
        "blocks": Choice((1, 2, 3)),
        "dropout": Uniform(0.2, 0.6),
        "embedding_size": Choice((64, 128, 256)),
        "learning_rate": LogUniform(5e-4, 1e-2),
    }

    def __init__(self, config: TransformerConfig, *, item_count: int, seed: int) -> None:
        super().__init__(config, item_count=item_count, seed=seed)
        seeds = iter(range(seed * 1024, seed * 1024 + 1024))  # every random part has its own
        self.items = ItemTable(config, item_count=item_count, seed=next(seeds))
        self.input_dropout = keras.layers.Dropout(config.dropout, seed=next(seeds))
        self.blocks = [_Block(config, seeds, name=f"block_{number}") for number in range(config.blocks)]
        self.norm = _norm(config.embedding_size)

    def examples(self, data: TrainingData, rng: np.random.Generator) -> Examples:
        """Windows of L + 1 items."""
        return windows(data, self.config.max_history, rng)

    def training_loss(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Cross-entropy of each next item, mean over all positions that have one."""
        states = self._states(batch["items"][:, :-1], training=True)  # [B, L, D]
        return self.items.loss(tf.boolean_mask(states, has_next(batch["items"])), batch)

    def score_items(self, history: tf.Tensor) -> tf.Tensor:
        """Scores of the next item; of an empty history the popularity."""
        items = newest_items(history, self.config.max_history)  # [B, L]
        newest = self._states(items, training=False)[:, -1]  # [B, D]
        return self.items.scores(newest * tf.cast(items[:, -1:] > 0, tf.float32))  # [B, I]

    def item_vectors(self) -> tf.Tensor:
        """The item embeddings."""
        return self.items.vectors()  # [I, D]

    def _states(self, items: tf.Tensor, *, training: bool) -> tf.Tensor:
        """What comes after each item, from that item and those before it.

        Args:
            items: int32 [B, L], zeros only at the left.
            training: Whether dropout is on.

        Returns:
            float32 [B, L, D]; without meaning where there is no item.
        """
        place = tf.range(items.shape[1])  # [L]
        distance = place[:, tf.newaxis] - place  # [L, L], from the item that looks back to the one looked at
        visible = (distance >= 0) & (items > 0)[:, tf.newaxis, tf.newaxis, :]  # [B, 1, L, L]
        hidden = self.items.embed(items) * self.config.embedding_size**0.5  # [B, L, D]
        hidden = self.input_dropout(hidden, training=training)
        for block in self.blocks:
            hidden = block(hidden, visible, tf.maximum(distance, 0), training=training)  # [B, L, D]
        return self.norm(hidden)


class _Block(keras.layers.Layer):
    """Attention, then a feed-forward layer, each normalised before and added to what came in."""

    def __init__(self, config: TransformerConfig, seeds: Iterator[int], *, name: str) -> None:
        super().__init__(name=name)
        size, self.heads = config.embedding_size, config.heads
        self.attention_norm, self.forward_norm = _norm(size), _norm(size)
        self.query_key_value = _dense(size, 3 * size, next(seeds))
        self.mixed = _dense(size, size, next(seeds))
        self.wide = _dense(size, 2 * size, next(seeds), activation="gelu")
        self.narrow = _dense(2 * size, size, next(seeds))
        self.dropouts = [keras.layers.Dropout(config.dropout, seed=next(seeds)) for _ in range(3)]
        self.distance_bias = self.add_weight(
            shape=(config.heads, config.max_history), initializer="zeros", name="distance_bias"
        )  # [H, L]
        self.built = True

    def call(self, hidden: tf.Tensor, visible: tf.Tensor, distance: tf.Tensor, *, training: bool) -> tf.Tensor:
        """[B, L, D] to [B, L, D]; `visible` bool [B, 1, L, L] and `distance` int32 [L, L] by who looks and at whom."""
        length, size = hidden.shape[1], hidden.shape[2]
        attention_dropout, mixed_dropout, forward_dropout = self.dropouts
        parts = self.query_key_value(self.attention_norm(hidden))  # [B, L, 3 D]
        parts = tf.reshape(parts, [-1, length, 3, self.heads, size // self.heads])  # [B, L, 3, H, D / H]
        query, key, value = tf.unstack(tf.transpose(parts, [2, 0, 3, 1, 4]))  # [B, H, L, D / H] each
        fit = tf.matmul(query, key, transpose_b=True) / (size // self.heads) ** 0.5  # [B, H, L, L]
        fit += tf.gather(tf.convert_to_tensor(self.distance_bias), distance, axis=1)  # [B, H, L, L]
        share = tf.nn.softmax(tf.where(visible, fit, -1e9))  # [B, H, L, L]
        mixed = tf.matmul(attention_dropout(share, training=training), value)  # [B, H, L, D / H]
        mixed = tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [-1, length, size])  # [B, L, D]
        hidden += mixed_dropout(self.mixed(mixed), training=training)  # [B, L, D]
        forward = self.narrow(self.wide(self.forward_norm(hidden)))  # [B, L, D]
        return hidden + forward_dropout(forward, training=training)


def _norm(size: int) -> keras.layers.LayerNormalization:
    layer = keras.layers.LayerNormalization(epsilon=1e-6)
    layer.build((None, None, size))
    return layer


def _dense(inputs: int, outputs: int, seed: int, activation: str | None = None) -> keras.layers.Dense:
    layer = keras.layers.Dense(outputs, activation, kernel_initializer=keras.initializers.GlorotUniform(seed))
    layer.build((None, None, inputs))
    return layer
