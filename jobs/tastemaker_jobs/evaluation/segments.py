"""Whom and what a mean hides: users by how much is known of them, test items by how popular they are."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from tastemaker_jobs.evaluation.beyond_accuracy import TrainingItems
from tastemaker_jobs.evaluation.protocol import Questions

__all__ = ["Segment", "segments_of"]

_HEAD_SHARE = 0.5
_COLD_EVENTS = 5


@dataclass(frozen=True)
class Segment:
    """A part of the questions."""

    name: str
    """For tables."""
    definition: str
    """Who or what belongs to it, with its numbers."""
    wanted: Mapping[str, Set[str]]
    """The users who have a test item in it, and those test items."""
    elsewhere: Mapping[str, Set[str]]
    """Those users' test items outside of it."""

    def lists(self, lists: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Lists without the test items of other segments: to be right there takes no place away from here."""
        return {
            user: [item for item in lists[user] if item not in outside]
            for user, outside in self.elsewhere.items()
            if user in lists
        }


def segments_of(questions: Questions, items: TrainingItems) -> list[Segment]:
    """Users by the length of their history, then test items by their popularity in training.

    Segments of users share out the users. Segments of items share out the test items: there a user is asked for the
    items of the segment alone, and counts in each segment that one of their test items is in.

    Args:
        questions: Who is asked what.
        items: Of the training part.

    Returns:
        Segments, those that nobody is in too: their figures are NaN.
    """
    return [*_by_history(questions), *_by_popularity(questions, items)]


def _by_history(questions: Questions) -> list[Segment]:
    lengths = {user: len(questions.histories[user]) for user in questions.wanted}
    longer = sorted(length for length in lengths.values() if length > _COLD_EVENTS)
    short, long = np.quantile(longer, (0.25, 0.75), method="inverted_cdf") if longer else (0, 0)

    def segment(name: str, definition: str, least: float, most: float) -> Segment:
        inside = {user for user, length in lengths.items() if least <= length <= most}
        return _segment(questions, name, definition, lambda user, _: user in inside)

    cold = f"1 to {_COLD_EVENTS} items known"
    return [
        segment("new users", "nothing known of them", 0, 0),
        segment("cold users", cold, 1, _COLD_EVENTS),
        segment("light users", f"{_COLD_EVENTS + 1} to {short:.0f} items known", _COLD_EVENTS + 1, short),
        segment("middle users", f"{short + 1:.0f} to {long:.0f} items known", max(short, _COLD_EVENTS) + 1, long),
        segment("heavy users", f"more than {long:.0f} items known", max(long, _COLD_EVENTS) + 1, np.inf),
    ]


def _by_popularity(questions: Questions, items: TrainingItems) -> list[Segment]:
    ranked = sorted(items.users_of, key=lambda item: (-items.popularity(item), item))
    events = np.cumsum([items.popularity(item) for item in ranked])
    head_count = int(np.searchsorted(events, events[-1] * _HEAD_SHARE)) + 1
    head, tail = frozenset(ranked[:head_count]), frozenset(ranked[head_count:])

    of_head = f"the {len(head)} most popular, which have half of all training events"
    return [
        _segment(questions, "head items", of_head, lambda _, item: item in head),
        _segment(questions, "tail items", f"the other {len(tail)} of training", lambda _, item: item in tail),
        _segment(questions, "cold items", "never in training", lambda _, item: item not in items.users_of),
    ]


def _segment(questions: Questions, name: str, definition: str, belongs: Callable[[str, str], bool]) -> Segment:
    """The segment of the users and test items that belong to it."""
    wanted: dict[str, Set[str]] = {}
    elsewhere: dict[str, Set[str]] = {}
    for user, found in questions.wanted.items():
        of_user = {found} if isinstance(found, str) else found
        inside = frozenset(item for item in of_user if belongs(user, item))
        if inside:
            wanted[user], elsewhere[user] = inside, of_user - inside
    return Segment(name, definition, wanted, elsewhere)
