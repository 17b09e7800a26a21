"""Items that nobody has touched, judged among themselves: does a model rank those that a user took above the others?

In the full catalogue they drown among items that everybody knows, and a list of ten shows little of how well they are
told apart. So here the candidates are the untouched items of the test alone, and every one of them is scored.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tastemaker_jobs.data.item_features import ItemFeatures
from tastemaker_jobs.data.ratings import Ratings
from tastemaker_jobs.data.splits import Split
from tastemaker_jobs.evaluation.metrics import Figure, figure_of
from tastemaker_jobs.evaluation.protocol import Questions, test_questions

__all__ = [
    "COLD_METRICS",
    "ColdQuestions",
    "Scorer",
    "attribute_popularity",
    "cold_questions",
    "judge_among_cold",
    "judge_cold",
    "user_attributes",
]

COLD_METRICS = ("auc", "recall@20")
"""What is measured among cold items, by mean over users.

AUC: the chance that an item the user took scores above one that the user did not; equal scores count half, so that
chance is 0.5. recall@20: the share of the user's items that are among the 20 best; equal scores are ranked by their
expectation over all orders, so that chance is 20 over the number of candidates.
"""

_TOP = 20
_Scores = npt.NDArray[np.float64]

Scorer = Callable[[Questions, Sequence[str]], _Scores]
"""From U users and C candidates to scores [U, C]."""


@dataclass(frozen=True)
class ColdQuestions:
    """Who is asked to rank what."""

    questions: Questions
    """The users, what is known of them, and which cold items they took."""
    candidates: tuple[str, ...]
    """[C], every cold item of the test, sorted."""


def cold_questions(split: Split) -> ColdQuestions:
    """The test items that training and validation never had, and the users who took one of them.

    Args:
        split: Whose test has such items.
    """
    known = set(split.train.item_id) | set(split.valid.item_id)
    candidates = frozenset(split.test.item_id) - known
    asked = test_questions(split)
    wanted = {user: found for user, items in asked.wanted.items() if (found := candidates & frozenset(items))}
    return ColdQuestions(Questions({user: asked.histories[user] for user in wanted}, wanted), tuple(sorted(candidates)))


def judge_cold(cold: ColdQuestions, scores: _Scores, *, seed: int) -> list[Figure]:
    """Figures of scores, with bootstrap intervals over users.

    Args:
        cold: What was asked.
        scores: [U, C], users in the order of the questions; -inf for items that a model does not know.
        seed: Of the bootstrap.

    Returns:
        Of `COLD_METRICS`, in their order. A user who took every candidate has no AUC and does not count there.
    """
    wanted = cold.questions.wanted
    taken = np.array([[item in wanted[user] for item in cold.candidates] for user in wanted], np.bool_)  # [U, C]
    areas, recalls = [], []
    for row, right in zip(scores, taken.reshape(scores.shape), strict=True):
        above = (row[right][:, np.newaxis] > row[~right]).sum(axis=1)  # [M]
        level = (row[right][:, np.newaxis] == row[~right]).sum(axis=1)  # [M]
        if not right.all():
            areas.append(float((above + level / 2).mean() / (~right).sum()))
        ahead = (row > row[right][:, np.newaxis]).sum(axis=1)  # [M], candidates that rank above
        tied = (row == row[right][:, np.newaxis]).sum(axis=1)  # [M], that rank with it, itself among them
        recalls.append(float(np.clip((_TOP - ahead) / tied, 0, 1).mean()))
    found = dict(zip(COLD_METRICS, (areas, recalls), strict=True))
    return [figure_of(name, np.array(values), seed=seed) for name, values in found.items()]


def attribute_popularity(train: Ratings, features: ItemFeatures) -> Mapping[str, float]:
    """What an item's attributes say of its popularity: the mean over them of the mean log count of events.

    The baseline that a content model must beat: it knows what kinds of items are popular, and nobody's taste.

    Args:
        train: Training events.
        features: Of all items.

    Returns:
        Item to score, for every listed item; one without a known attribute gets the mean of all trained items.
    """
    counts = Counter(train.item_id)
    logs: dict[str, list[float]] = {}
    for item, attributes in zip(features.item_ids, features.attributes, strict=True):
        for attribute in attributes if item in counts else ():
            logs.setdefault(attribute, []).append(float(np.log1p(counts[item])))
    mean = {attribute: float(np.mean(values)) for attribute, values in logs.items()}
    overall = float(np.mean(np.log1p(list(counts.values()))))
    return {
        item: float(np.mean([mean[name] for name in attributes if name in mean] or [overall]))
        for item, attributes in zip(features.item_ids, features.attributes, strict=True)
    }


def user_attributes(train: Ratings, features: ItemFeatures, cold: ColdQuestions) -> _Scores:
    """`attribute_popularity` for each user: how much likelier an item's attributes are in the user's own history.

    The score is the attribute popularity, plus the mean over the item's attributes of the log of the user's share of
    events with it over everybody's share.

    Args:
        train: Training events.
        features: Of all items.
        cold: Who is asked to rank what.

    Returns:
        [U, C].
    """
    of_item = dict(zip(features.item_ids, map(frozenset, features.attributes), strict=True))
    names = sorted({name for found in of_item.values() for name in found})
    column = {name: place for place, name in enumerate(names)}

    def counted(items: Sequence[str]) -> _Scores:
        total = np.zeros(len(names))  # [A]
        for item in items:
            total[[column[name] for name in of_item.get(item, ())]] += 1
        return total

    everybody = (counted(list(train.item_id)) + 1) / (len(train) + 1)  # [A]
    popular = attribute_popularity(train, features)
    base = np.array([popular.get(item, 0.0) for item in cold.candidates])  # [C]
    has = np.array([[name in of_item.get(item, ()) for name in names] for item in cold.candidates], float)  # [C, A]
    has /= np.maximum(has.sum(axis=1, keepdims=True), 1)
    rows = []
    for history in cold.questions.histories.values():
        share = (counted(history) + 10 * everybody) / (len(history) + 10)  # [A], as if 10 average events came before
        rows.append(base + has @ np.log(share / everybody))
    return np.array(rows)


def judge_among_cold(
    split: Split, models: Mapping[str, Scorer], features: ItemFeatures | None, seed: int
) -> dict[str, list[Figure]]:
    """Figures of models among the cold items, beside chance and, where items are listed, what attributes say.

    Args:
        split: Whose test has cold items.
        models: Name to scores of candidates for users.
        features: Of all items, if they are known.
        seed: Of the bootstrap.

    Returns:
        Baseline or model to figures of `COLD_METRICS`.
    """
    cold = cold_questions(split)
    count = (len(cold.questions.wanted), len(cold.candidates))
    scores: dict[str, _Scores] = {"chance": np.zeros(count)}
    if features is not None:
        popular = attribute_popularity(split.train, features)
        row = [popular.get(item, -np.inf) for item in cold.candidates]  # [C]
        scores["popularity by attribute"] = np.broadcast_to(np.array(row), count)
        scores["the user's attributes"] = user_attributes(split.train, features, cold)
    for name, score in models.items():
        scores[name] = score(cold.questions, cold.candidates)
    return {name: judge_cold(cold, found, seed=seed) for name, found in scores.items()}
