"""Ranking metrics over users, with intervals. The metrics themselves are trec_eval's, through pytrec_eval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytrec_eval

__all__ = ["CUTOFF", "TIE_POLICY", "Figure", "judge"]

CUTOFF = 10
"""Lists are judged on their first ten."""
TIE_POLICY = "served order: the list is judged in the order that the model returned it, ties and all"
"""trec_eval would order equal scores by item id; so it is given ranks in place of scores."""

_MEASURES = {"hr@10": "success_10", "ndcg@10": "ndcg_cut_10"}
_RESAMPLES = 1000


@dataclass(frozen=True)
class Figure:
    """The mean of a metric over users, with its 95 % bootstrap interval."""

    name: str
    """For example "ndcg@10"."""
    value: float
    """0 to 1; NaN where no user has a test item."""
    lower: float
    """Lower end of the interval; NaN likewise."""
    upper: float
    """Upper end of the interval; NaN likewise."""
    user_count: int
    """How many users the mean is over."""


def judge(lists: Mapping[str, Sequence[str]], wanted: Mapping[str, str], *, seed: int) -> list[Figure]:
    """HR@10 and NDCG@10 of ranked lists.

    A user whose list is missing or empty counts as 0: a model that answers nothing is not left out of the mean.

    Args:
        lists: User to items, best first, none twice.
        wanted: User to the test item. The users of this mapping are the ones that count.
        seed: Of the bootstrap.

    Returns:
        A figure for each metric, in order of name.
    """
    run = {user: {item: float(-rank) for rank, item in enumerate(lists[user])} for user in wanted if lists.get(user)}
    judged: dict[str, dict[str, float]] = {}
    if run:
        qrel = {user: {wanted[user]: 1} for user in run}
        judged = pytrec_eval.RelevanceEvaluator(qrel, set(_MEASURES.values())).evaluate(run)
    return [
        _figure(name, np.array([judged.get(user, {}).get(measure, 0.0) for user in wanted]), seed)
        for name, measure in sorted(_MEASURES.items())
    ]


def _figure(name: str, values: npt.NDArray[np.float64], seed: int) -> Figure:
    """Mean and percentile bootstrap over users.

    Args:
        name: Of the metric.
        values: [U], one per user.
        seed: Of the resampling.
    """
    if not len(values):
        return Figure(name, float("nan"), float("nan"), float("nan"), 0)
    rng = np.random.default_rng(seed)
    # The same seed draws the same users for every model, so two models' intervals move together.
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(_RESAMPLES)]
    lower, upper = np.quantile(means, (0.025, 0.975))
    return Figure(name, float(values.mean()), float(lower), float(upper), len(values))
