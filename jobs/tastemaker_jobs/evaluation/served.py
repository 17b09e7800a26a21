"""What an exported model answers: evaluation asks the SavedModel itself, as a server would, not the model in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tastemaker_jobs.errors import ModelLoadError
from tastemaker_jobs.evaluation.protocol import Questions

__all__ = ["SavedModel", "loaded_with"]

_BATCH = 128


def loaded_with(folder: Path, signature: str) -> Any:
    """A SavedModel as TensorFlow loads it, if it has a signature.

    Raises:
        ModelLoadError: It is corrupt or lacks the signature.
    """
    try:
        loaded = tf.saved_model.load(str(folder))
    except (OSError, ValueError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        raise ModelLoadError(f"{folder} is not a SavedModel that can be loaded: {reason}. Train it anew.") from error
    if signature not in loaded.signatures:
        has = ", ".join(sorted(loaded.signatures)) or "none"
        raise ModelLoadError(f"{folder} has no signature `{signature}` (it has: {has}). Train it anew.")
    return loaded


class SavedModel:
    """A SavedModel that keeps the contract of the signatures."""

    def __init__(self, folder: Path) -> None:
        """Load it.

        Args:
            folder: Of the version.

        Raises:
            ModelLoadError: It is corrupt or lacks the signature `recommend`.
        """
        self.folder = folder
        self._loaded = loaded_with(folder, "recommend")  # kept: the signatures hold its variables weakly
        self._recommend = self._loaded.signatures["recommend"]

    def lists(self, questions: Questions, *, k: int) -> dict[str, list[str]]:
        """The k best items for each user, the history excluded.

        Args:
            questions: Who is asked, knowing what.
            k: Length of the lists.

        Returns:
            User to items, best first; fewer than k where there are no more.
        """
        return {user: [item for item, _ in found] for user, found in self.scored_lists(questions, k=k).items()}

    def scored_lists(self, questions: Questions, *, k: int) -> dict[str, list[tuple[str, float]]]:
        """As `lists`, each item with its score."""
        users = sorted(
            questions.histories, key=lambda user: len(questions.histories[user])
        )  # little padding in a batch
        lists: dict[str, list[tuple[str, float]]] = {}
        for start in range(0, len(users), _BATCH):
            batch = users[start : start + _BATCH]
            longest = max(1, *(len(questions.histories[user]) for user in batch))
            history = tf.constant(
                [[""] * (longest - len(questions.histories[user])) + list(questions.histories[user]) for user in batch]
            )  # [B, T]
            answer = self._recommend(history=history, exclude=history, k=tf.constant(k))
            found = zip(batch, answer["item_id"].numpy(), answer["score"].numpy(), strict=True)  # [B, k] each
            for user, items, scores in found:
                lists[user] = [(i.decode(), float(s)) for i, s in zip(items, scores, strict=True) if i]
        return lists

    def scores(self, questions: Questions, candidates: Sequence[str]) -> npt.NDArray[np.float64]:
        """How well each candidate fits each user.

        Args:
            questions: Who is asked, knowing what.
            candidates: [C] items.

        Returns:
            [U, C], users in the order of the questions; -inf for items that the model does not know.

        Raises:
            ModelLoadError: It lacks the signature `score`.
        """
        if "score" not in self._loaded.signatures:
            raise ModelLoadError(f"{self.folder} has no signature `score`. Train it anew.")
        histories = list(questions.histories.values())
        longest = max((1, *map(len, histories)))
        rows = []
        for start in range(0, len(histories), _BATCH):
            batch = [[""] * (longest - len(history)) + list(history) for history in histories[start : start + _BATCH]]
            answer = self._loaded.signatures["score"](
                history=tf.constant(batch), candidate=tf.constant([list(candidates)] * len(batch))
            )
            rows.append(answer["score"].numpy())  # [B, C]
        return np.concatenate(rows).astype(np.float64)
