"""How ratings are divided into what a model learns from and what it is judged on. One function per way of splitting."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tastemaker_jobs.data.ratings import Ratings
from tastemaker_jobs.errors import TooFewRatingsError

__all__ = ["Split", "leave_last_out"]

_MIN_EVENTS_FOR_HOLDOUT = 3  # one to know the user by, one to validate, one to test


@dataclass(frozen=True)
class Split:
    """Three parts of one set of ratings; no row is in two of them. Each is ordered by time, ties by file order."""

    protocol: str
    """The split's name, as it stands in manifests and tables."""
    train: Ratings
    """All that may be learnt from: weights, vocabulary, popularity, statistics."""
    valid: Ratings
    """For choices during training (early stopping, settings); never for figures that are reported."""
    test: Ratings
    """For reported figures alone."""


def leave_last_out(ratings: Ratings) -> Split:
    """Each user's last event is for the test, the one before for validation, the rest for training.

    Protects from judging a model by events that it has seen, and from knowing a user's later events when predicting an
    earlier one. Does not protect from knowing what *other* users did later: for that, split at one moment in time.

    Events are ordered by timestamp, and events of one timestamp by their order in the file. That order must be the same
    everywhere: of MovieLens 100K's 943 users, 415 have their last two ratings at one timestamp, so a different order is
        a different test set. Users with fewer than three events are trained on and not tested.

    Raises:
        TooFewRatingsError: No user has an event to train on.
    """
    ordered = ratings.in_time_order()
    _, user = np.unique(ordered.user_id.astype(str), return_inverse=True)  # [N]
    from_end = _rank_from_end(user)  # [N]
    events = np.bincount(user)[user]  # [N]
    held_out = events >= _MIN_EVENTS_FOR_HOLDOUT
    test = held_out & (from_end == 0)
    valid = held_out & (from_end == 1)
    train = ~(test | valid)
    if not train.any():
        raise TooFewRatingsError("There are no ratings to train on. Give a ratings file with at least one row.")
    return Split(
        protocol="leave-last-out",
        train=ordered.take(np.flatnonzero(train)),
        valid=ordered.take(np.flatnonzero(valid)),
        test=ordered.take(np.flatnonzero(test)),
    )


def _rank_from_end(user: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For each row, how many later rows the same user has.

    Args:
        user: [N] user numbers, rows in time order.

    Returns:
        [N] counts, 0 for a user's last row.
    """
    by_user = np.argsort(user, kind="stable")  # [N], a user's rows together and still in time order
    counts = np.bincount(user)
    ends = np.cumsum(counts)[user[by_user]]  # [N]
    rank = np.empty(len(user), dtype=np.int64)
    rank[by_user] = ends - 1 - np.arange(len(user))
    return rank
