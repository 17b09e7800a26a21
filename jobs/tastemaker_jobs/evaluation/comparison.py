"""Is one model better than another, or only luckier? Paired over users, all pairs, corrected for asking many times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

__all__ = ["SIGNIFICANCE", "Difference", "compare_pairs"]

SIGNIFICANCE = (
    "paired over the same users: difference with its 95 % bootstrap interval; p from 9,999 random flips of the"
    " differences' signs, two-sided, corrected over all pairs of a metric by Holm's method"
)
"""How differences are judged, for captions."""

_RESAMPLES = 1000
_FLIPS = 9999
_CHUNK = 500  # resamples at a time, so that memory stays small whatever the number of users


@dataclass(frozen=True)
class Difference:
    """How far one model is ahead of another in a metric."""

    metric: str
    """For example "ndcg@10"."""
    ahead: str
    """The model that is subtracted from; not always the better one."""
    behind: str
    """The model that is subtracted."""
    value: float
    """Mean difference over users, -1 to 1; NaN without users."""
    lower: float
    """Lower end of the 95 % bootstrap interval; NaN likewise."""
    upper: float
    """Upper end of the interval; NaN likewise."""
    p_value: float
    """Corrected for the number of pairs, 0 to 1; NaN likewise."""

    @property
    def significant(self) -> bool:
        """Whether chance explains it in fewer than one of twenty such tables."""
        return self.p_value < 0.05


def compare_pairs(
    values: Mapping[str, npt.NDArray[np.float64]], *, metric: str, seed: int
) -> dict[tuple[str, str], Difference]:
    """Every pair of models, both ways round.

    The same user draws and the same sign flips serve all pairs, so that the answers of one table agree with each other.

    Args:
        values: Model to the metric [U] of each user, the same users in the same order for all.
        metric: The metric's name.
        seed: Of the resampling.

    Returns:
        (ahead, behind) to difference.
    """
    pairs = list(combinations(values, 2))
    if not pairs:
        return {}
    gaps = np.array([values[one] - values[other] for one, other in pairs])  # [P, U]
    if not gaps.shape[1]:
        nan = float("nan")
        return {
            (one, other): Difference(metric, one, other, nan, nan, nan, nan)
            for pair in pairs
            for one, other in (pair, pair[::-1])
        }
    lower, upper = _interval(gaps, seed)
    p_values = _holm(_sign_flip(gaps, seed))
    found = {}
    for row, (one, other) in enumerate(pairs):
        mean, p_value = float(gaps[row].mean()), float(p_values[row])
        low, high = float(lower[row]), float(upper[row])
        found[one, other] = Difference(metric, one, other, mean, low, high, p_value)
        found[other, one] = Difference(metric, other, one, -mean, -high, -low, p_value)
    return found


def _interval(gaps: npt.NDArray[np.float64], seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Percentile bootstrap over users.

    Args:
        gaps: [P, U].
        seed: Of the draws.

    Returns:
        Lower and upper ends, [P] each.
    """
    rng, users = np.random.default_rng(seed), gaps.shape[1]
    means = []
    for _ in range(_RESAMPLES):
        drawn = np.bincount(rng.integers(0, users, users), minlength=users)  # [U], how often each user
        means.append(gaps @ drawn / users)  # [P]
    lower, upper = np.quantile(means, (0.025, 0.975), axis=0)
    return lower, upper


def _sign_flip(gaps: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
    """Two-sided p of a paired permutation test: how often random signs give a mean as far from 0.

    Args:
        gaps: [P, U].
        seed: Of the signs.

    Returns:
        [P], at least 1 / 10,000.
    """
    rng, users = np.random.default_rng(seed), gaps.shape[1]
    observed = np.abs(gaps.sum(axis=1)) - 1e-9  # [P], a hair less, so that rounding does not make an equal sum smaller
    as_far = np.zeros(len(gaps))
    for start in range(0, _FLIPS, _CHUNK):
        signs = rng.integers(0, 2, (users, min(_CHUNK, _FLIPS - start))) * 2.0 - 1.0  # [U, flips]
        as_far += (np.abs(gaps @ signs) >= observed[:, np.newaxis]).sum(axis=1)
    return (as_far + 1) / (_FLIPS + 1)


def _holm(p_values: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """P corrected for the number of comparisons.

    Source: Holm, "A simple sequentially rejective multiple test procedure" (1979).

    >>> _holm([0.01, 0.5, 0.02]).tolist()
    [0.03, 0.5, 0.04]
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, kind="stable")
    stepped = p_values[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
    return corrected
