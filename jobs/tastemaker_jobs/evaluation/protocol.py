"""Who is asked what in an evaluation, the same for every model and baseline: full catalogue, seen items excluded.

Owns the protocols by name: which split, which metrics, and in one sentence what it shows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from tastemaker_jobs.data.held_out import cold_items, cold_users, strong_generalisation
from tastemaker_jobs.data.ratings import Ratings
from tastemaker_jobs.data.splits import Split, global_temporal, leave_last_out
from tastemaker_jobs.errors import TooFewRatingsError

__all__ = [
    "COLD_ITEMS",
    "PROTOCOLS",
    "Protocol",
    "Questions",
    "test_questions",
    "validation_questions",
    "validation_targets",
]


@dataclass(frozen=True)
class Protocol:
    """A way of judging models."""

    name: str
    """As on the command line, in manifests and in tables."""
    splits: Callable[[Ratings], Iterator[Split]]
    """The split; a protocol that can be repeated gives more than one."""
    metrics: tuple[str, ...]
    """What is measured; the first one is the one that models are ordered and compared by."""
    shows: str
    """What a good figure means, in a sentence."""

    @property
    def longest_list(self) -> int:
        """How many items to ask for: the largest k of the metrics."""
        return max(int(name.partition("@")[2]) for name in self.metrics)

    def split(self, ratings: Ratings) -> Split:
        """The split that models are trained and judged on. The same for the same ratings, whoever asks.

        Args:
            ratings: As read; an event that is written twice is used once.

        Raises:
            TooFewRatingsError: There is not enough to split.
        """
        return next(self.splits(ratings.without_repeats()))


COLD_ITEMS = "cold-items"
"""The protocol whose test items nobody touched; `cold_items` judges them among themselves."""
_TARGETS_PER_USER = 10
_TOP_TEN = ("ndcg@10", "hr@10", "mrr@10", "recall@20")
_PROTOCOLS = (
    Protocol(
        "leave-last-out",
        lambda ratings: iter((leave_last_out(ratings),)),
        ("ndcg@10", "hr@10", "mrr@10"),
        "finds the very next item of users whom the model knows",
    ),
    Protocol("temporal", global_temporal, _TOP_TEN, "finds what users do after the moment at which training ended"),
    Protocol(
        "strong-generalisation",
        strong_generalisation,
        ("ndcg@100", "recall@20", "recall@50", "hr@10", "mrr@10"),
        "completes the taste of users whom training never saw, from four fifths of what they like",
    ),
    Protocol(COLD_ITEMS, cold_items, _TOP_TEN, "finds items that nobody has touched yet"),
    Protocol("cold-users", cold_users, _TOP_TEN, "serves new users after their first three events"),
)
PROTOCOLS: Mapping[str, Protocol] = {protocol.name: protocol for protocol in _PROTOCOLS}
"""By name."""


@dataclass(frozen=True)
class Questions:
    """For each test user: what the model may know, and what it should find."""

    histories: Mapping[str, Sequence[str]]
    """User to items before the test items, oldest first. They are given as history and excluded from the answer."""
    wanted: Mapping[str, str | Set[str]]
    """User to test item, or to several."""


def test_questions(split: Split) -> Questions:
    """The test of a split. Validation items and what is folded in are known by then, so they belong to the history.

    An item that the user has seen before can't be recommended, so nobody is asked to find it again; who has nothing
    else to find is not asked. A user of whom nothing is known is asked with an empty history.
    """
    histories = Ratings.joined(split.train, split.valid, split.fold_in).in_time_order().histories()
    wanted = {user: frozenset(items) - set(histories.get(user, ())) for user, items in split.test.histories().items()}
    asked = [user for user in sorted(wanted) if wanted[user]]
    return Questions({user: histories.get(user, []) for user in asked}, {user: wanted[user] for user in asked})


def validation_questions(split: Split) -> Questions:
    """The validation part asked as a test would be: for a figure where there is no test, which flatters the model."""
    histories = Ratings.joined(split.train, split.fold_in).in_time_order().histories()
    wanted = {user: frozenset(items) - set(histories.get(user, ())) for user, items in split.valid.histories().items()}
    asked = [user for user in sorted(wanted) if wanted[user]]
    return Questions({user: histories.get(user, []) for user in asked}, {user: wanted[user] for user in asked})


def validation_targets(split: Split) -> tuple[dict[str, list[str]], dict[str, str]]:
    """What training stops by: a question for each validation item, of each user the first ten.

    Ten, because where few users validate, one item of each would decide by luck; no more, because they are asked after
    every epoch. An item that the user has had before is not asked for.

    Returns:
        Question to what comes before it, oldest first; question to item. A question is called by its user's id, and
        by a number besides from the second one on.

    Raises:
        TooFewRatingsError: The split has validation events, and not one of them can be asked for.
    """
    histories = Ratings.joined(split.train, split.fold_in).in_time_order().histories()
    asked: dict[str, list[str]] = {}
    held_out: dict[str, str] = {}
    for user, items in split.valid.histories().items():
        history = histories.get(user, [])
        fresh = [item for item in dict.fromkeys(items) if item not in set(history)]
        for number, item in enumerate(fresh[:_TARGETS_PER_USER]):
            question = f"{user}\n{number}" if number else user  # no id has a line break in it
            asked[question], held_out[question] = history, item
    if len(split.valid) and not held_out:
        raise TooFewRatingsError("Every validation item is one that its user had before. Give more ratings.")
    return asked, held_out
