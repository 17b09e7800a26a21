"""Example users for the report: what they had, what they were to be shown, and what each model lists."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tastemaker_jobs.data.stable_hash import stable_hash
from tastemaker_jobs.evaluation.protocol import Questions

__all__ = ["ExampleUser", "example_users"]

_PER_THIRD = 2
_HISTORY_SHOWN = 12
_WANTED_SHOWN = 6
_LIST_SHOWN = 10


@dataclass(frozen=True)
class ExampleUser:
    """One user, shortened to what fits on paper."""

    user: str
    """Their id."""
    known: int
    """How many items they have."""
    history: tuple[str, ...]
    """The newest of them, newest first."""
    wanted_count: int
    """How many test items they have."""
    wanted: frozenset[str]
    """All of these."""
    wanted_shown: tuple[str, ...]
    """Some of them, those that a model lists first."""
    lists: Mapping[str, tuple[str, ...]]
    """Model to the first items of its list."""


def example_users(questions: Questions, lists: Mapping[str, Mapping[str, Sequence[str]]]) -> list[ExampleUser]:
    """Two users each of those with few, with more and with the most items, chosen by the hash of their id.

    Not by how well a model does for them: picked users would prove whatever one likes.

    Args:
        questions: Who is asked what.
        lists: Model to user to items.
    """
    by_length = sorted(questions.wanted, key=lambda user: (len(questions.histories[user]), user))
    third = max(1, len(by_length) // 3)
    parts = (by_length[:third], by_length[third : 2 * third], by_length[2 * third :])
    chosen = [user for part in parts for user in sorted(part, key=stable_hash)[:_PER_THIRD]]
    examples = []
    for user in chosen:
        found = questions.wanted[user]
        wanted = frozenset({found} if isinstance(found, str) else found)
        tops = {name: tuple(of_model.get(user, ())[:_LIST_SHOWN]) for name, of_model in lists.items()}
        listed = {item for top in tops.values() for item in top}
        shown = sorted(wanted, key=lambda item: (item not in listed, item))[:_WANTED_SHOWN]
        history = questions.histories[user]
        newest = tuple(reversed(history[-_HISTORY_SHOWN:]))
        examples.append(ExampleUser(user, len(history), newest, len(wanted), wanted, tuple(shown), tops))
    return examples
