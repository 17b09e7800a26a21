"""The score that early stopping follows. Quick and internal; reported figures come from `evaluation` and a library."""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tastemaker_jobs.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    from tastemaker_jobs.models.recommender import Recommender

__all__ = ["Validation", "score_function"]

_BATCH = 256  # so that the scores of a batch stay small whatever the number of users
_CUTOFF = 10


class Validation:
    """NDCG@10 of one held-out item per user, over the catalogue without the user's history."""

    def __init__(
        self, vocabulary: Vocabulary, histories: Mapping[str, Sequence[str]], held_out: Mapping[str, str]
    ) -> None:
        """Which users and items.

        Args:
            vocabulary: Of the training data. An unknown held-out item counts as missed.
            histories: User to training items, oldest first.
            held_out: User to the item that came next.
        """
        users = sorted(held_out)
        encoded = [vocabulary.encode(histories[user]) for user in users]
        longest = max((len(history) for history in encoded), default=0)
        self._history = np.zeros((len(users), longest), dtype=np.int32)  # [U, T]
        for row, history in zip(self._history, encoded, strict=True):
            row[longest - len(history) :] = history
        self._target = np.array([vocabulary.index.get(held_out[user], 0) for user in users], dtype=np.int32)  # [U]

    @property
    def questions(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """History [U, T], left-padded with 0, and target [U], 0 where unknown."""
        return self._history, self._target

    def among(self, item_count: int) -> "Validation":
        """The same questions for a model that knows the first items alone; the others become unknown.

        Args:
            item_count: How many it knows.
        """
        limited = copy.copy(self)
        limited._history = np.where(self._history <= item_count, self._history, 0)
        limited._target = np.where(self._target <= item_count, self._target, 0)
        return limited

    def ndcg(self, score_items: tf.types.experimental.PolymorphicFunction) -> float:
        """The model's score now; NaN without users.

        Args:
            score_items: `Recommender.score_items` as a tf.function.
        """
        if not len(self._target):
            return float("nan")
        gains = []
        for start in range(0, len(self._target), _BATCH):
            history, target = self._history[start : start + _BATCH], self._target[start : start + _BATCH]
            gains.append(_gain(score_items(tf.constant(history)).numpy(), history, target))
        return float(np.concatenate(gains).mean())


def score_function(model: "Recommender") -> tf.types.experimental.PolymorphicFunction:
    """`score_items` as one tf.function for any batch and history length."""
    return tf.function(model.score_items, input_signature=[tf.TensorSpec([None, None], tf.int32)])


def _gain(
    scores: npt.NDArray[np.float32], history: npt.NDArray[np.int32], target: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    """NDCG@10 per user; an item that ties with the target counts as ranked above it.

    Args:
        scores: [B, I].
        history: [B, T] item numbers, zeros for padding.
        target: [B] item number, 0 where unknown.
    """
    users = np.arange(len(target))
    wanted = scores[users, target - 1].copy()  # [B]
    open_to_all = np.concatenate([np.full((len(scores), 1), -np.inf, dtype=scores.dtype), scores], axis=1)  # [B, I + 1]
    np.put_along_axis(open_to_all, history, -np.inf, axis=1)
    open_to_all[users, target] = -np.inf
    above = (open_to_all >= wanted[:, np.newaxis]).sum(axis=1)  # [B]
    return np.where((target > 0) & (above < _CUTOFF), 1 / np.log2(above + 2.0), 0.0)
