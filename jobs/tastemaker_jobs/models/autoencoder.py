"""A denoising autoencoder over the set of a user's items.

Source: Liang et al., "Variational Autoencoders for Collaborative Filtering" (WWW 2018): its Mult-DAE.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from tastemaker_jobs.models.recommender import Examples, GradientConfig, GradientRecommender
from tastemaker_jobs.models.search_space import Choice, Domain, LogUniform, Uniform
from tastemaker_jobs.models.training_data import TrainingData

__all__ = ["Autoencoder", "AutoencoderConfig"]


@dataclass(frozen=True)
class AutoencoderConfig(GradientConfig):
    """Settings of the autoencoder."""

    epochs: int = 60
    """Passes over the training data at most; each is short. 1 or more."""
    patience_epochs: int = 15
    """Training stops after this many epochs without a better validation score. 1 or more."""
    batch_size: int = 64
    """Users per step. 1 or more."""
    learning_rate: float = 2e-3
    """Adam's step size. Above 0."""
    hidden_size: int = 200
    """H, of the user's code. 1 or more."""
    input_dropout: float = 0.5
    """Share of a user's items that training hides; to find them again is the task. 0 to 1."""
    weight_decay: float = 1e-5
    """Factor of the squared weights in the loss. Above 0."""


class Autoencoder(GradientRecommender):
    """A user's items as a unit vector [I], encoded to tanh [H], decoded to a score for each item [I]."""

    name_in_registry = "autoencoder"
    config_class = AutoencoderConfig
    search_space: ClassVar[Mapping[str, Domain]] = {
        "hidden_size": Choice((100, 200, 400)),
        "input_dropout": Uniform(0.3, 0.8),
        "learning_rate": LogUniform(5e-4, 5e-3),
        "weight_decay": LogUniform(1e-6, 1e-3),
    }

    def __init__(self, config: AutoencoderConfig, *, item_count: int, seed: int) -> None:
        super().__init__(config, item_count=item_count, seed=seed)
        seeds = iter(range(seed * 16, seed * 16 + 16))  # every random part has its own
        self.dropout = keras.layers.Dropout(config.input_dropout, seed=next(seeds))
        self.encoder = keras.layers.Dense(
            config.hidden_size, activation="tanh", kernel_initializer=keras.initializers.GlorotUniform(next(seeds))
        )
        self.decoder = keras.layers.Dense(item_count, kernel_initializer=keras.initializers.GlorotUniform(next(seeds)))
        self.dropout.build((None, item_count))
        self.encoder.build((None, item_count))
        self.decoder.build((None, config.hidden_size))

    # ARG002: every model gets the generator; here dropout does what differs between epochs.
    def examples(self, data: TrainingData, rng: np.random.Generator) -> Examples:  # noqa: ARG002
        """Each user's items, left-padded to the longest history."""
        longest = max(len(history) for history in data.histories)
        items = np.zeros((len(data.histories), longest), dtype=np.int32)  # [N, T]
        for row, history in zip(items, data.histories, strict=True):
            row[longest - len(history) :] = history
        return {"items": items}

    def training_loss(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Multinomial log-loss: scores as one distribution over the catalogue, its log summed over the user's items.

        Mean over users, divided by their number of items, so that heavy users do not drown the others.
        """
        bag = self._bag(batch["items"])  # [B, I]
        log_softmax = tf.nn.log_softmax(self._decode(self.dropout(bag, training=True)))  # [B, I]
        count = tf.maximum(tf.reduce_sum(bag, axis=1), 1.0)  # [B]
        loss = -tf.reduce_mean(tf.reduce_sum(log_softmax * bag, axis=1) / count)
        weights = (self.encoder.kernel, self.decoder.kernel)
        return loss + self.config.weight_decay * tf.add_n([tf.nn.l2_loss(weight) for weight in weights])

    def score_items(self, history: tf.Tensor) -> tf.Tensor:
        """Scores from the whole set of items; order and repetition do not matter."""
        return self._decode(self._bag(history))

    def item_vectors(self) -> tf.Tensor:
        """The decoder's weights of each item."""
        return tf.transpose(tf.convert_to_tensor(self.decoder.kernel))  # [I, H]

    def _bag(self, items: tf.Tensor) -> tf.Tensor:
        """int32 [B, T] to float32 [B, I]: 1 where the item is among them."""
        coordinates = tf.cast(tf.where(items > 0), tf.int32)  # [M, 2]
        cells = tf.stack([coordinates[:, 0], tf.gather_nd(items, coordinates) - 1], axis=1)  # [M, 2]
        empty = tf.zeros([tf.shape(items)[0], self.item_count])  # [B, I]
        return tf.tensor_scatter_nd_update(empty, cells, tf.ones([tf.shape(cells)[0]]))

    def _decode(self, bag: tf.Tensor) -> tf.Tensor:
        """[B, I] to [B, I]."""
        return self.decoder(self.encoder(tf.math.l2_normalize(bag, axis=1)))
