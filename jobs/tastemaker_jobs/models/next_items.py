"""What models of the next item share: settings, training windows, and the table of items with the loss over it.

The models own how a history becomes a vector; this file owns what that vector is trained to foretell.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tastemaker_jobs.models.recommender import Examples, GradientConfig
from tastemaker_jobs.models.training_data import TrainingData

__all__ = ["ItemTable", "NextItemConfig", "has_next", "windows"]

_NEVER = -1e9  # a score that no softmax notices; -inf would make NaN where nothing else is left
_POPULARITY_WEIGHT = 0.1  # of the loss that makes the item biases the popularity: small beside the loss proper


@dataclass(frozen=True)
class NextItemConfig(GradientConfig):
    """Settings that models of the next item share."""

    embedding_size: int = 128
    """D, of the item embeddings. 1 or more."""
    max_history: int = 50
    """L: how many of the newest items it looks at, in training and when serving. 1 or more."""
    repeats: bool = False
    """Whether an item may come again. If not, items that a user has do not compete with the next one in training, just
    as they are left out of lists: the model need not spend its weights on pushing them down. Set it for data where
    people come back to items and lists may show them again."""
    negatives: int = 0
    """S: how many other items the next one competes with at each step, drawn by popularity and corrected for that; 0
    for the whole catalogue, which is better as long as it fits. Some thousands do from 100,000 items on. 0 or more."""

    @classmethod
    def _in_range(cls, name: str, value: Any) -> bool:
        return value >= 0 if name == "negatives" else super()._in_range(name, value)


def windows(data: TrainingData, length: int, rng: np.random.Generator) -> Examples:
    """Windows of L + 1 events, left-padded: the first L are a model's input, the last L what should come next.

    Where a long history is cut differs from epoch to epoch, so that each item is seen with more and with less before
    it. Each item but a user's first is a target once, those of the newest window twice.

    Args:
        data: Histories and weights of their events.
        length: L, 1 or more.
        rng: Chooses where to cut.

    Returns:
        items int32 [N, L + 1] and weights float32 [N, L + 1].
    """
    cut = []  # user, start and end of each window
    for user, history in enumerate(data.histories):
        end = len(history)
        if end > length + 1:
            cut.append((user, end - length - 1, end))
            end -= int(rng.integers(1, length + 1))
        while end > 1:
            cut.append((user, max(0, end - length - 1), end))
            end -= length
    items = np.zeros((len(cut), length + 1), dtype=np.int32)  # [N, L + 1]
    weights = np.zeros((len(cut), length + 1), dtype=np.float32)  # [N, L + 1]
    for row, (user, start, end) in enumerate(cut):
        items[row, start - end :] = data.histories[user][start:end]
        weights[row, start - end :] = data.weights[user][start:end]
    return {"items": items, "weights": weights}


def has_next(items: tf.Tensor) -> tf.Tensor:
    """Which of the first L positions of windows [B, L + 1] have an item and one after it: bool [B, L], true M times."""
    return (items[:, :-1] > 0) & (items[:, 1:] > 0)


class ItemTable(keras.layers.Layer):
    """One table of item embeddings [I + 1, D] for input and output, a bias per item [I], and the loss over them.

    Source: Bengio and Senécal, "Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic Language
    Model" (IEEE Transactions on Neural Networks, 2008) for the sampled softmax: the log of how often an item is drawn
    is taken from its score (logQ), so that the sum over the sample is that over the catalogue on average. The target is
    always there, so its score stays.
    """

    def __init__(self, config: NextItemConfig, *, item_count: int, seed: int) -> None:
        super().__init__(name="item_table")
        self.item_count, self.config, self.seed = item_count, config, seed
        self.embeddings = self.add_weight(
            shape=(item_count + 1, config.embedding_size),
            initializer=keras.initializers.RandomNormal(0, 0.05, seed),
            name="embeddings",
        )
        self.bias = self.add_weight(shape=(item_count,), initializer="zeros", name="bias")
        self.built = True

    def embed(self, items: tf.Tensor) -> tf.Tensor:
        """int32 [B, L] to float32 [B, L, D], zeros for padding."""
        embedded = tf.gather(tf.convert_to_tensor(self.embeddings), items)  # [B, L, D]
        return embedded * tf.cast(items > 0, tf.float32)[:, :, tf.newaxis]  # [B, L, D]

    def vectors(self) -> tf.Tensor:
        """The embeddings of the items [I, D], without the padding's."""
        return tf.convert_to_tensor(self.embeddings)[1:]

    def scores(self, vector: tf.Tensor) -> tf.Tensor:
        """[B, D] to [B, I]. A vector of zeros leaves the biases, which are the popularity."""
        return tf.matmul(vector, self.vectors(), transpose_b=True) + self.bias  # [B, I]

    def loss(self, vector: tf.Tensor, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Cross-entropy of each next item against the catalogue or a sample of it, the mean by weight.

        A small part of it is the cross-entropy of the biases alone, so that they are the log of the popularity and a
        user without history gets that.

        Args:
            vector: [M, D], of the positions that `has_next`.
            batch: As from `windows`.

        Returns:
            float32 [].
        """
        at = has_next(batch["items"])  # [B, L]
        target = tf.boolean_mask(batch["items"][:, 1:], at) - 1  # [M], from 0
        weight = tf.boolean_mask(batch["weights"][:, 1:], at)  # [M]
        popularity = tf.gather(tf.nn.log_softmax(tf.convert_to_tensor(self.bias)), target)  # [M]
        loss = self._loss(vector, target, batch["items"][:, :-1], at) - _POPULARITY_WEIGHT * popularity  # [M]
        return tf.math.divide_no_nan(tf.reduce_sum(loss * weight), tf.reduce_sum(weight))

    def _loss(self, vector: tf.Tensor, target: tf.Tensor, items: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
        """[M]. Written as log(1 + exp(others - wanted)), so that the target's own column can be hidden like others."""
        table, bias = self.vectors(), tf.convert_to_tensor(self.bias)
        if self.config.negatives and self.config.negatives < self.item_count:
            others, _, chance = tf.random.log_uniform_candidate_sampler(
                tf.cast(target, tf.int64)[:, tf.newaxis],
                num_true=1,
                num_sampled=self.config.negatives,
                unique=True,
                range_max=self.item_count,  # the vocabulary is in order of popularity
                seed=self.seed,
            )  # [S], [M, 1], [S]
            others = tf.cast(others, tf.int32)
            wanted = tf.reduce_sum(vector * tf.gather(table, target), axis=1) + tf.gather(bias, target)  # [M]
            table, bias = tf.gather(table, others), tf.gather(bias, others) - tf.math.log(chance)  # [S, D], [S]
            scores = tf.matmul(vector, table, transpose_b=True) + bias  # [M, S]
        else:
            others = tf.range(self.item_count)  # [I], S being I from here on
            scores = self.scores(vector)  # [M, S]
            wanted = tf.gather(scores, target, batch_dims=1)  # [M]
        hidden = others == target[:, tf.newaxis]  # [M, S]
        if not self.config.repeats:
            hidden |= _seen(items, at, others + 1, self.item_count)  # [M, S]
        return tf.nn.softplus(tf.reduce_logsumexp(tf.where(hidden, _NEVER, scores), axis=1) - wanted)  # [M]


def _seen(items: tf.Tensor, at: tf.Tensor, candidates: tf.Tensor, item_count: int) -> tf.Tensor:
    """Which candidates a window has up to some of its positions.

    Args:
        items: int32 [B, L].
        at: bool [B, L], true at M positions.
        candidates: int32 [S], each once.
        item_count: I.

    Returns:
        bool [M, S].
    """
    rows, length, others = tf.shape(items)[0], items.shape[1], tf.size(candidates)
    among = tf.tensor_scatter_nd_update(  # for each item its place among the candidates, S where it is none
        tf.fill([item_count + 1], others), candidates[:, tf.newaxis], tf.range(others)
    )  # [I + 1]
    at_row = tf.repeat(tf.range(rows)[:, tf.newaxis], length, axis=1)  # [B, L]
    place = tf.repeat(tf.range(length)[tf.newaxis], rows, axis=0)  # [B, L]
    first = tf.tensor_scatter_nd_min(
        tf.fill([rows, others + 1], length), tf.stack([at_row, tf.gather(among, items)], axis=2), place
    )[:, :-1]  # [B, S], L where it is not among them
    position = tf.cast(tf.where(at), tf.int32)  # [M, 2], row and place
    return tf.gather(first, position[:, 0]) <= position[:, 1:]  # [M, S]
