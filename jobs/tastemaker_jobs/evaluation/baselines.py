"""The baselines that every model is shown beside: learnt in memory, asked without a SavedModel.

Each is a model of the registry with its default settings, so what it says here is what it would serve.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tastemaker_jobs.data.splits import Split
from tastemaker_jobs.data.vocabulary import Vocabulary
from tastemaker_jobs.errors import ConfigError
from tastemaker_jobs.evaluation.protocol import Questions
from tastemaker_jobs.models import model_class
from tastemaker_jobs.models.recommender import Recommender
from tastemaker_jobs.models.training_data import TrainingData
from tastemaker_jobs.training.validation import Validation, score_function

__all__ = ["BASELINES", "baseline_lists"]

BASELINES = ("popularity", "item_knn", "ease", "als")
"""Names of the registry, simplest first."""

_BATCH = 128


def baseline_lists(
    split: Split, questions: Questions, *, k: int, seed: int, note: Callable[[str], None]
) -> dict[str, dict[str, list[str]]]:
    """The lists of each baseline, learnt from the training part.

    Args:
        split: Its training part is learnt from.
        questions: Who is asked.
        k: Length of the lists.
        seed: For those that have randomness in them.
        note: Told of each baseline that is left out, and why, as a sentence.

    Returns:
        Baseline to user to items, best first; without those that this data is too large for.
    """
    vocabulary = Vocabulary.of(split.train.item_id)
    lists = {}
    for name in BASELINES:
        kind = model_class(name)
        config = kind.config_class()
        data = TrainingData.of(split.train, vocabulary, config=config)
        try:
            model = kind.for_data(config, data, seed=seed)
        except ConfigError as error:
            note(f"compared without the baseline {name}: {error}")
            continue
        model.learn(data, validation=Validation(vocabulary, {}, {}), seed=seed, report=lambda _: None)
        lists[name] = _lists(model, vocabulary, questions, k=k)
    return lists


def _lists(model: Recommender, vocabulary: Vocabulary, questions: Questions, *, k: int) -> dict[str, list[str]]:
    """What `SavedModel.lists` would give of the exported model."""
    score_items = score_function(model)
    encoded = {user: vocabulary.encode(history) for user, history in questions.histories.items()}
    users = sorted(encoded, key=lambda user: len(encoded[user]))  # little padding in a batch
    lists: dict[str, list[str]] = {}
    for start in range(0, len(users), _BATCH):
        batch = users[start : start + _BATCH]
        history = np.zeros((len(batch), len(encoded[batch[-1]])), dtype=np.int32)  # [B, T]
        for row, user in zip(history, batch, strict=True):
            row[len(row) - len(encoded[user]) :] = encoded[user]
        scores = score_items(tf.constant(history)).numpy()  # [B, I]
        for of_user, user in zip(scores, batch, strict=True):
            of_user[encoded[user] - 1] = -np.inf
        best = tf.math.top_k(scores, min(k, len(vocabulary)))  # of equal scores the more popular item first
        for user, found, places in zip(batch, best.values.numpy(), best.indices.numpy(), strict=True):
            lists[user] = [vocabulary.item_ids[place] for place in places[np.isfinite(found)]]
    return lists
