"""Who is asked what in an evaluation, the same for every model and baseline: full catalogue, seen items excluded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tastemaker_jobs.data.splits import Split

__all__ = ["Questions", "test_questions"]


@dataclass(frozen=True)
class Questions:
    """For each test user: what the model may know, and what it should find."""

    histories: Mapping[str, Sequence[str]]
    """User to items before the test item, oldest first. They are given as history and excluded from the answer."""
    wanted: Mapping[str, str]
    """User to test item."""


def test_questions(split: Split) -> Questions:
    """The test of a split: the validation item is known by then, so it belongs to the history."""
    histories = split.train.histories()
    for user, item in zip(split.valid.user_id, split.valid.item_id, strict=True):
        histories.setdefault(user, []).append(item)
    wanted = dict(zip(split.test.user_id, split.test.item_id, strict=True))
    return Questions({user: histories[user] for user in wanted}, wanted)
