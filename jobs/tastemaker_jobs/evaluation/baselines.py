"""The baselines that every model is shown beside: what they answer, without a SavedModel."""

from tastemaker_jobs.data.splits import Split
from tastemaker_jobs.data.vocabulary import Vocabulary
from tastemaker_jobs.evaluation.popularity import popular_lists
from tastemaker_jobs.evaluation.protocol import Questions

__all__ = ["baseline_lists"]


def baseline_lists(split: Split, questions: Questions, *, k: int, seed: int) -> dict[str, dict[str, list[str]]]:
    """The lists of each baseline, learnt from the training part.

    Args:
        split: Its training part is learnt from.
        questions: Who is asked.
        k: Length of the lists.
        seed: For those that have randomness in them.

    Returns:
        Baseline to user to items, best first.
    """
    del seed  # none of these has randomness in it
    return {"popularity": popular_lists(questions, Vocabulary.of(split.train.item_id).item_ids, k=k)}
