"""The score that early stopping follows. Quick and internal; reported figures come from `evaluation` and a library."""

import copy
from collections.abc import Callable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

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
        self,
        vocabulary: Vocabulary,
        histories: Mapping[str, Sequence[str]],
        held_out: Mapping[str, str],
        *,
        among: Set[str] | None = None,
    ) -> None:
        """Which users and items.

        Args:
            vocabulary: Of the training data. An unknown held-out item counts as missed.
            histories: User to training items, oldest first.
            held_out: User to the item that came next.
            among: The items that compete; None for the whole catalogue. Items that nobody has touched would drown
                among those that everybody has, and what is chosen by their rank there is chosen by luck.
        """
        users = sorted(held_out)
        encoded = [vocabulary.encode(histories[user]) for user in users]
        longest = max((len(history) for history in encoded), default=0)
        self._history = np.zeros((len(users), longest), dtype=np.int32)  # [U, T]
        self._out: npt.NDArray[np.int64] | None = None  # columns of the items that do not compete
        if among is not None:
            self._out = np.flatnonzero([item not in among for item in vocabulary.item_ids])
        for row, history in zip(self._history, encoded, strict=True):
            row[longest - len(history) :] = history
        self._target = np.array([vocabulary.index.get(held_out[user], 0) for user in users], dtype=np.int32)  # [U]

    def __len__(self) -> int:
        return len(self._target)

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

    def part(self, number: int, parts: int) -> "Validation":
        """Every so-manieth question, so that workers can share them.

        Args:
            number: Which part, from 0.
            parts: Of how many.
        """
        some = copy.copy(self)
        some._history, some._target = self._history[number::parts], self._target[number::parts]
        return some

    def ndcg(self, score_items: tf.types.experimental.PolymorphicFunction) -> float:
        """The model's score now; NaN without users.

        Args:
            score_items: `Recommender.score_items` as a tf.function.
        """
        return self._mean(score_items, _gain)

    def scorer(self, model: Any) -> Callable[[], float]:
        """The model's `score` as it is at each call.

        Args:
            model: A `Recommender`.
        """
        score_items = score_function(model)
        return lambda: self.score(score_items)

    @property
    def measure(self) -> str:
        """What `score` measures."""
        return "NDCG@10" if self._out is None else "AUC"

    def score(self, score_items: tf.types.experimental.PolymorphicFunction) -> float:
        """NDCG@10 over the catalogue, or the AUC among the items that compete; NaN without users.

        Among untouched items ten places are a matter of luck, where the whole order is not.

        Args:
            score_items: As for `ndcg`.
        """
        return self._mean(score_items, _gain if self._out is None else _area)

    def _mean(self, score_items: tf.types.experimental.PolymorphicFunction, gain: Callable[..., Any]) -> float:
        if not len(self._target):
            return float("nan")
        gains = []
        for start in range(0, len(self._target), _BATCH):
            history, target = self._history[start : start + _BATCH], self._target[start : start + _BATCH]
            scores = score_items(tf.constant(history)).numpy()  # [B, I]
            if self._out is not None:
                scores[:, self._out] = -np.inf
            gains.append(gain(scores, history, target))
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


def _area(
    scores: npt.NDArray[np.float32], history: npt.NDArray[np.int32], target: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    """The share of the other competing items that rank below the target, ties by half; as for `_gain`. 0 if unknown."""
    users = np.arange(len(target))
    scores = scores.copy()
    wanted = scores[users, target - 1]  # [B]
    rows, places = np.nonzero(history)
    scores[rows, history[rows, places] - 1] = -np.inf
    scores[users, target - 1] = -np.inf
    others = np.isfinite(scores)  # [B, I]
    below = (others & (scores < wanted[:, np.newaxis])).sum(axis=1)  # [B]
    level = (others & (scores == wanted[:, np.newaxis])).sum(axis=1)  # [B]
    return np.where(target > 0, (below + level / 2) / np.maximum(others.sum(axis=1), 1), 0.0)
