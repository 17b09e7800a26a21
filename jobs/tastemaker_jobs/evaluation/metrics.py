"""Ranking metrics over users, with intervals. The metrics themselves are trec_eval's, through pytrec_eval."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytrec_eval

__all__ = ["CUTOFF", "DEFAULT_METRICS", "TIE_POLICY", "Figure", "figure_of", "judge", "per_user"]

CUTOFF = 10
"""Lists are judged on their first ten, unless a metric's name says otherwise."""
DEFAULT_METRICS = ("hr@10", "ndcg@10")
"""What a manifest holds."""
TIE_POLICY = "served order: the list is judged in the order that the model returned it, ties and all"
"""trec_eval would order equal scores by item id; so it is given ranks in place of scores."""

_MEASURES = {"hr": "success_", "ndcg": "ndcg_cut_", "recall": "recall_", "mrr": "recip_rank"}
_RESAMPLES = 1000

Wanted = Mapping[str, str | Set[str]]
"""User to test item, or to several."""


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


def judge(
    lists: Mapping[str, Sequence[str]], wanted: Wanted, *, seed: int, names: Sequence[str] = DEFAULT_METRICS
) -> list[Figure]:
    """Figures of ranked lists: HR@10 and NDCG@10, or whatever else is named.

    Args:
        lists: As for `per_user`.
        wanted: As for `per_user`.
        seed: Of the bootstrap.
        names: As for `per_user`.

    Returns:
        A figure for each metric, in order of `names`.
    """
    return [figure_of(name, values, seed=seed) for name, values in per_user(lists, wanted, names=names).items()]


def per_user(
    lists: Mapping[str, Sequence[str]], wanted: Wanted, *, names: Sequence[str] = DEFAULT_METRICS
) -> dict[str, npt.NDArray[np.float64]]:
    """Each user's value of each metric.

    HR is 1 where any wanted item is among the first k; recall is the share of the wanted items that are; MRR is 1 over
    the rank of the first one; NDCG has binary gains and an ideal list as long as k lets it be. A user whose list is
    missing or empty counts as 0: a model that answers nothing is not left out of the mean.

    Args:
        lists: User to items, best first, none twice; as long as the largest k, if there are as many items.
        wanted: The users of this mapping are the ones that count; each has one item or more.
        names: Of "hr", "ndcg", "recall" and "mrr", each with "@" and a k of 1 or more.

    Returns:
        Metric to values [U], in the order of `wanted`.
    """
    qrel = {user: dict.fromkeys({items} if isinstance(items, str) else items, 1) for user, items in wanted.items()}
    values: dict[str, npt.NDArray[np.float64]] = {}
    for name in names:
        kind, _, cut = name.partition("@")
        k = int(cut)
        run = {user: {item: float(-rank) for rank, item in enumerate(lists[user][:k])} for user in lists.keys() & qrel}
        run = {user: ranks for user, ranks in run.items() if ranks}
        measure = _MEASURES[kind] if kind == "mrr" else f"{_MEASURES[kind]}{k}"
        judged: dict[str, dict[str, float]] = {}
        if run:
            judged = pytrec_eval.RelevanceEvaluator({user: qrel[user] for user in run}, {measure}).evaluate(run)
        values[name] = np.array([judged.get(user, {}).get(measure, 0.0) for user in qrel])
    return values


def figure_of(name: str, values: npt.NDArray[np.float64], *, seed: int) -> Figure:
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
