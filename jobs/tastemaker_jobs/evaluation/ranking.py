"""Lists of a model in memory, ranked as its SavedModel would: for baselines and folds, which are never exported."""

import numpy as np
import tensorflow as tf

from tastemaker_jobs.data.vocabulary import Vocabulary
from tastemaker_jobs.evaluation.protocol import Questions
from tastemaker_jobs.models.recommender import Recommender
from tastemaker_jobs.training.validation import score_function

__all__ = ["ranked_lists"]

_BATCH = 128


def ranked_lists(model: Recommender, vocabulary: Vocabulary, questions: Questions, *, k: int) -> dict[str, list[str]]:
    """The k best items for each user, the history excluded; equal scores in vocabulary order.

    Args:
        model: Ready to score.
        vocabulary: Its items.
        questions: Who is asked, knowing what.
        k: Length of the lists.

    Returns:
        User to items, best first; fewer than k where there are no more.
    """
    users = sorted(questions.histories, key=lambda user: len(questions.histories[user]))  # little padding in a batch
    score_items, lists = score_function(model), {}
    for start in range(0, len(users), _BATCH):
        batch = users[start : start + _BATCH]
        encoded = [vocabulary.encode(questions.histories[user]) for user in batch]
        history = np.zeros((len(batch), max(map(len, encoded))), dtype=np.int32)  # [B, T]
        for row, items in zip(history, encoded, strict=True):
            row[len(row) - len(items) :] = items
        scores = score_items(tf.constant(history)).numpy()  # [B, I]
        open_to_all = np.concatenate([np.zeros((len(batch), 1), scores.dtype), scores], axis=1)  # [B, I + 1]
        np.put_along_axis(open_to_all, history, -np.inf, axis=1)
        best = np.argsort(-open_to_all[:, 1:], axis=1, kind="stable")[:, :k]  # [B, k]
        for user, row, values in zip(batch, best, open_to_all[:, 1:], strict=True):
            lists[user] = [vocabulary.item_ids[item] for item in row if np.isfinite(values[item])]
    return lists
