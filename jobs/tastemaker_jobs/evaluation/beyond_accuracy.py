"""What lists are like, whether right or wrong: how much of the catalogue they use, how known, how varied, how even."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from tastemaker_jobs.data.ratings import Ratings
from tastemaker_jobs.evaluation.metrics import CUTOFF, Figure, figure_of

__all__ = ["MEANINGS", "TrainingItems", "describe_lists"]

MEANINGS = {
    "coverage": "share of the training part's items that are in anyone's first ten",
    "novelty": "mean -log2 of an item's share of the training users: 1 where half of them have it, 2 where a quarter",
    "diversity": "1 less the mean cosine of two items of a list, by the training users they share: 0 all alike, 1 no"
    " user in common",
    "popularity lift": "mean popularity of what is listed over that of what the users have, less 1: 0 follows their"
    " taste, 1 lists items twice as popular",
    "exposure gini": "how unevenly the lists' places go to the training part's items: 0 all alike, 1 all to one",
}
"""What each figure means; all are of the first ten items of each list."""


@dataclass(frozen=True)
class TrainingItems:
    """What training knew of each item: who has it."""

    train: Ratings
    """The training part."""

    @cached_property
    def users_of(self) -> dict[str, frozenset[str]]:
        """Item to the users who have it."""
        users: dict[str, set[str]] = {}
        for user, item in zip(self.train.user_id, self.train.item_id, strict=True):
            users.setdefault(item, set()).add(user)
        return {item: frozenset(of_item) for item, of_item in users.items()}

    @cached_property
    def user_count(self) -> int:
        """How many users there are."""
        return len(set(self.train.user_id))

    @cached_property
    def _cosines(self) -> dict[tuple[str, str], float]:
        return {}

    def popularity(self, item: str) -> int:
        """How many training users have it; 0 for an item that training never saw."""
        return len(self.users_of.get(item, ()))

    def cosine(self, one: str, other: str) -> float:
        """Of two items as sets of users, 0 to 1; 0 where nobody has one of them."""
        key = (one, other) if one < other else (other, one)
        if key not in self._cosines:
            first, second = self.users_of.get(one, frozenset()), self.users_of.get(other, frozenset())
            shared = len(first & second)
            self._cosines[key] = shared / float(np.sqrt(len(first) * len(second))) if shared else 0.0
        return self._cosines[key]


def describe_lists(
    lists: Mapping[str, Sequence[str]], histories: Mapping[str, Sequence[str]], items: TrainingItems, *, seed: int
) -> list[Figure]:
    """The figures of `MEANINGS`, in that order, with intervals where they are means over users.

    Args:
        lists: User to items, best first; the first ten count, and empty lists do not.
        histories: User to what they have.
        items: Of the training part.
        seed: Of the bootstrap.

    Returns:
        Figures; NaN where there is nothing to measure, and NaN as interval of what is no mean over users.
    """
    nan = float("nan")
    tops = {user: list(top[:CUTOFF]) for user, top in lists.items() if len(top)}
    places = Counter(item for top in tops.values() for item in top)
    catalogue = items.users_of
    listed = sum(1 for item in places if item in catalogue)
    novelty, diversity, lift = [], [], []
    for user, top in tops.items():
        # An item that nobody has counts as one user's: else a single one would be infinitely new.
        novelty.append(np.mean([-np.log2(max(1, items.popularity(item)) / items.user_count) for item in top]))
        if len(top) > 1:
            diversity.append(1 - np.mean([items.cosine(one, other) for one, other in combinations(top, 2)]))
        own = [items.popularity(item) for item in histories.get(user, ())]
        if sum(own):
            lift.append(np.mean([items.popularity(item) for item in top]) / np.mean(own) - 1)
    users = len(tops)
    return [
        Figure("coverage", listed / len(catalogue) if users else nan, nan, nan, users),
        figure_of("novelty", np.array(novelty), seed=seed),
        figure_of("diversity", np.array(diversity), seed=seed),
        figure_of("popularity lift", np.array(lift), seed=seed),
        Figure("exposure gini", _gini([places[item] for item in catalogue]) if users else nan, nan, nan, users),
    ]


def _gini(amounts: Sequence[int]) -> float:
    """How unevenly amounts are shared out: 0 all alike, towards 1 all to one; NaN where there is nothing to share.

    >>> _gini([3, 3, 3]), _gini([0, 0, 0, 8])
    (0.0, 0.75)
    """
    total, count = sum(amounts), len(amounts)
    if not total:
        return float("nan")
    ranked = sum(rank * amount for rank, amount in enumerate(sorted(amounts), start=1))
    return 2 * ranked / (count * total) - (count + 1) / count
