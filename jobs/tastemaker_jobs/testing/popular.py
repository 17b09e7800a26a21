"""Lists to judge in tests that must do without TensorFlow: the most rated items that the user has not seen."""

from collections.abc import Sequence

from tastemaker_jobs.evaluation.protocol import Questions

__all__ = ["popular_lists"]


def popular_lists(questions: Questions, item_ids: Sequence[str], *, k: int) -> dict[str, list[str]]:
    """The k most popular unseen items of each user.

    Args:
        questions: Who is asked.
        item_ids: [I], most popular in the training data first, as a `Vocabulary` has them.
        k: Length of the lists.
    """
    lists = {}
    for user, history in questions.histories.items():
        seen = set(history)
        unseen = (item for item in item_ids if item not in seen)
        lists[user] = [item for item, _ in zip(unseen, range(k), strict=False)]
    return lists
