"""An autoencoder over the set of a user's items: denoising or variational, beside a linear one.

Source: Liang et al., "Variational Autoencoders for Collaborative Filtering" (WWW 2018): its Mult-DAE and Mult-VAE. The
squared loss is that of Sedhain et al., "AutoRec: Autoencoders Meet Collaborative Filtering" (WWW 2015). The linear part
is EASE (see `ease`): each sees what the other does not, and the sum of the two ranks better than either.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tastemaker_jobs.models.ease import item_weights
from tastemaker_jobs.models.interactions import bag_of_items, lighten_heavy_users, user_item_matrix
from tastemaker_jobs.models.recommender import Examples, GradientConfig, GradientRecommender
from tastemaker_jobs.models.search_space import Choice, Domain, LogUniform, Uniform
from tastemaker_jobs.models.training_data import TrainingData
from tastemaker_jobs.training.progress import Report
from tastemaker_jobs.training.request import Trained
from tastemaker_jobs.training.validation import Validation

__all__ = ["Autoencoder", "AutoencoderConfig"]

_LOSSES = ("multinomial", "squared")


@dataclass(frozen=True)
class AutoencoderConfig(GradientConfig):
    """Settings of the autoencoder."""

    epochs: int = 40
    """Passes over the training data at most; each is short. 1 or more."""
    patience_epochs: int = 40
    """Training stops after this many epochs without a better validation score. 1 or more."""
    batch_size: int = 64
    """Users per step. 1 or more."""
    learning_rate: float = 2e-3
    """Adam's step size. Above 0."""
    loss: str = "multinomial"
    """"multinomial": which items a user has. "squared": how they rate them; scores are then predicted ratings."""
    hidden_size: int = 400
    """H, of the user's code. 1 or more."""
    middle_size: int = 0
    """Of a hidden layer between items and code. 0: none."""
    batch_norm: bool = False
    """Whether what goes into the code's nonlinearity, or into the middle one's, is normalised over the batch."""
    input_dropout: float = 0.5
    """Share of a user's items that training hides; to find them again is the task. 0 to 1."""
    weight_decay: float = 1e-5
    """Factor of the squared weights in the loss. Above 0."""
    variational: bool = False
    """Whether the code is a distribution [H] that training draws from; serving takes its mean."""
    kl_cap: float = 0.2
    """How much the code's distance from the standard normal counts in the loss at most. 0 or more."""
    kl_annealing_epochs: int = 30
    """That factor rises from 0 to its cap in so many epochs. 1 or more."""
    linear_weight: float = 12.0
    """Factor of the linear part's scores. 0: there is none. With the loss "squared" there is none."""
    linear_l2: float = 200.0
    """Factor of the squared weights of the linear part. Above 0."""
    linear_max_items: int = 20_000
    """Larger catalogues do without the linear part, whose weights are [I, I]. 1 or more."""

    @classmethod
    def _in_range(cls, name: str, value: Any) -> bool:
        if name == "loss":
            return value in _LOSSES
        if name in ("middle_size", "kl_cap", "linear_weight"):
            return bool(0 <= value < np.inf)
        return super()._in_range(name, value)


class Autoencoder(GradientRecommender):
    """A user's items as a unit vector [I], encoded to [H], decoded to a score for each item [I]."""

    name_in_registry = "autoencoder"
    config_class = AutoencoderConfig
    encodes = True
    search_space: ClassVar[Mapping[str, Domain]] = {
        "hidden_size": Choice((100, 200, 400)),
        "input_dropout": Uniform(0.3, 0.8),
        "learning_rate": LogUniform(5e-4, 5e-3),
        "weight_decay": LogUniform(1e-6, 1e-3),
    }

    def __init__(self, config: AutoencoderConfig, *, item_count: int, seed: int) -> None:
        super().__init__(config, item_count=item_count, seed=seed)
        seeds = iter(range(seed * 16, seed * 16 + 16))  # every random part has its own

        def dense(inputs: int, outputs: int) -> keras.layers.Dense:
            layer = keras.layers.Dense(outputs, kernel_initializer=keras.initializers.GlorotUniform(next(seeds)))
            layer.build((None, inputs))
            return layer

        def norm(size: int) -> keras.layers.BatchNormalization | None:
            if not (config.batch_norm and size):
                return None
            layer = keras.layers.BatchNormalization()
            layer.build((None, size))
            return layer

        self.dropout = keras.layers.Dropout(config.input_dropout, seed=next(seeds))
        self.noise = keras.random.SeedGenerator(next(seeds))
        middle, hidden = config.middle_size, config.hidden_size
        self.middle, self.middle_norm = dense(item_count, middle) if middle else None, norm(middle)
        self.encoder, self.code_norm = dense(middle or item_count, hidden), norm(hidden)
        self.spread = dense(middle or item_count, hidden) if config.variational else None  # logarithm of the variance
        self.decoder = dense(hidden, item_count)
        self.annealed = self.add_weight(shape=(), initializer="zeros", trainable=False, name="annealed")
        self.rating_mean = self.add_weight(shape=(), initializer="zeros", trainable=False, name="rating_mean")
        self.rating_spread = self.add_weight(shape=(), initializer="ones", trainable=False, name="rating_spread")
        self.linear = None
        if config.linear_weight > 0 and config.loss == "multinomial" and item_count <= config.linear_max_items:
            self.linear = self.add_weight(
                shape=(item_count, item_count), initializer="zeros", trainable=False, name="linear"
            )  # [I, I]
        self._users, self._events_per_user = 1, 1.0

    def learn(self, data: TrainingData, *, validation: Validation, seed: int, report: Report) -> Trained:
        """See `Recommender.learn`; the linear part and the ratings' statistics first, then the rest in the loop."""
        if self.linear is not None:
            matrix = user_item_matrix(data, add_repeats=False)  # [U, I]
            self.linear.assign(item_weights(lighten_heavy_users(matrix, power=0.25), l2=self.config.linear_l2))
        if self.config.loss == "squared":
            ratings, weights = np.concatenate(data.ratings), np.concatenate(data.weights)  # [N] each
            mean = np.average(ratings, weights=weights)
            self.rating_mean.assign(mean)
            self.rating_spread.assign(np.sqrt(np.average((ratings - mean) ** 2, weights=weights)) or 1.0)
        return super().learn(data, validation=validation, seed=seed, report=report)

    def examples(self, data: TrainingData, rng: np.random.Generator) -> Examples:
        """Each user's items, each once with its weightiest event (the newest of equals), left-padded."""
        del rng  # dropout does what differs between epochs
        chosen = [_weightiest(*of_user) for of_user in zip(data.histories, data.weights, strict=True)]
        longest = max(len(events) for events in chosen)  # T
        self._users, self._events_per_user = len(chosen), sum(map(len, chosen)) / len(chosen)
        columns = {"items": data.histories, "weights": data.weights, "ratings": data.ratings}
        found = {name: np.zeros((len(chosen), longest), dtype=column[0].dtype) for name, column in columns.items()}
        for name, column in columns.items():
            for row, values, events in zip(found[name], column, chosen, strict=True):
                row[longest - len(events) :] = values[events]
        return found  # [N, T] each

    def training_loss(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The multinomial log-loss or the squared error of the user's items, for a variational code its divergence.

        Summed over a user's items, then divided by how many users have on average: heavy users count for more, as
        there is more to learn from them.
        """
        known = tf.where(batch["items"] > 0)  # [M, 2]
        cells = tf.stack([known[:, 0], tf.cast(tf.gather_nd(batch["items"], known), tf.int64) - 1], axis=1)  # [M, 2]
        weights = tf.gather_nd(batch["weights"], known)  # [M]
        bag = tf.sparse.to_dense(bag_of_items(batch["items"], self.item_count))  # [B, I]
        code, spread = self._encode(bag, training=True)  # [B, H] each
        loss = tf.zeros([])
        if spread is not None:
            divergence = 0.5 * tf.reduce_sum(tf.exp(spread) + tf.square(code) - 1 - spread, axis=1)  # [B]
            loss += self._kl_weight(tf.shape(bag)[0]) * tf.reduce_sum(divergence)
            code += tf.exp(spread / 2) * keras.random.normal(tf.shape(code), seed=self.noise)  # [B, H]
        decoded = self.decoder(code)  # [B, I]
        if self.config.loss == "squared":
            rating = (tf.gather_nd(batch["ratings"], known) - self.rating_mean) / self.rating_spread  # [M]
            loss += tf.reduce_sum(weights * tf.square(tf.gather_nd(decoded, cells) - rating))
        else:
            loss -= tf.reduce_sum(weights * tf.gather_nd(tf.nn.log_softmax(decoded), cells))
        loss /= tf.cast(tf.shape(bag)[0], tf.float32) * self._events_per_user
        kernels = [layer.kernel for layer in (self.middle, self.encoder, self.spread, self.decoder) if layer]
        return loss + self.config.weight_decay * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])

    def score_items(self, history: tf.Tensor) -> tf.Tensor:
        """Scores from the whole set of items; order and repetition do not matter."""
        bag = bag_of_items(history, self.item_count)  # [B, I]
        decoded = self.decoder(self._encode(tf.sparse.to_dense(bag), training=False)[0])  # [B, I]
        if self.config.loss == "squared":
            return decoded * self.rating_spread + self.rating_mean
        if self.linear is None:
            return decoded
        linear = tf.sparse.sparse_dense_matmul(bag, tf.convert_to_tensor(self.linear))  # [B, I]
        return decoded + self.config.linear_weight * linear

    def user_vectors(self, history: tf.Tensor) -> tf.Tensor:
        """The code; of a variational one the mean."""
        bag = tf.sparse.to_dense(bag_of_items(history, self.item_count))  # [B, I]
        return self._encode(bag, training=False)[0]  # [B, H]

    def item_vectors(self) -> tf.Tensor:
        """The decoder's weights of each item."""
        return tf.transpose(tf.convert_to_tensor(self.decoder.kernel))  # [I, H]

    def _encode(self, bag: tf.Tensor, *, training: bool) -> tuple[tf.Tensor, tf.Tensor | None]:
        """[B, I] to the code [B, H], and if it is variational the logarithm of its variance [B, H]."""
        hidden = self.dropout(tf.math.l2_normalize(bag, axis=1), training=training)  # [B, I]
        if self.middle:
            hidden = self.middle(hidden)  # [B, middle_size]
            hidden = tf.tanh(self.middle_norm(hidden, training=training) if self.middle_norm else hidden)
        code = self.encoder(hidden)  # [B, H]
        code = self.code_norm(code, training=training) if self.code_norm else code
        return (code, self.spread(hidden)) if self.spread else (tf.tanh(code), None)

    def _kl_weight(self, users: tf.Tensor) -> tf.Tensor:
        """What the divergence counts in this step, and one step on: 0 at first, then rising to the cap."""
        now = self.config.kl_cap * tf.minimum(tf.convert_to_tensor(self.annealed), 1.0)
        in_all = self._users * self.config.kl_annealing_epochs
        self.annealed.assign_add(tf.cast(users, tf.float32) / in_all)
        return now


def _weightiest(history: npt.NDArray[np.int32], weight: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Places in a history [T], one of each item: of its events the one that weighs most, the newest of equals."""
    order: npt.NDArray[np.int64] = np.lexsort((weight, history))  # [T], stable
    last = np.append(np.diff(history[order]) != 0, True)  # [T]
    return order[np.flatnonzero(last)]
