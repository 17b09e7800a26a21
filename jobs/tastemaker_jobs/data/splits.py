"""How ratings are divided into what a model learns from and what it is judged on. One function per way of splitting.

Each says what it protects from, because no single one protects from everything. Here are the splits in time; those that
hold out users or items whole are in `held_out`, K-fold ones in `folds`. Which metrics go with which split is
`evaluation.protocol`'s matter.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tastemaker_jobs.data.ratings import Ratings
from tastemaker_jobs.errors import TooFewRatingsError

__all__ = ["Split", "global_temporal", "leave_last_out"]

_MIN_EVENTS_FOR_HOLDOUT = 3  # one to know the user by, one to validate, one to test


def _none() -> Ratings:
    ids = np.array([], dtype=object)
    return Ratings(ids, ids, np.array([], dtype=np.float32), np.array([], dtype=np.int64))


@dataclass(frozen=True)
class Split:
    """Parts of one set of ratings; no row is in two of them. Each is ordered by time, ties by file order."""

    protocol: str
    """The split's name, as it stands in manifests and tables."""
    train: Ratings
    """All that may be learnt from: weights, vocabulary, popularity, statistics."""
    valid: Ratings
    """For choices during training (early stopping, settings); never for figures that are reported."""
    test: Ratings
    """For reported figures alone."""
    fold_in: Ratings = field(default_factory=_none)
    """Of users that are not trained on: what is known of them when they are asked about. Neither learnt nor judged."""

    def whole(self) -> "Split":
        """The split, if there is something in each part that it is made of.

        Raises:
            TooFewRatingsError: There is not.
        """
        empty = [name for name in ("train", "valid", "test") if not len(getattr(self, name))]
        if empty:
            raise TooFewRatingsError(
                f"The split {self.protocol} leaves nothing for: {', '.join(empty)}. Give a ratings file with more"
                " users, items and moments in time, or choose another protocol."
            )
        return self


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


def global_temporal(
    ratings: Ratings, *, valid_share: float = 0.1, test_share: float = 0.1, cuts: int = 1
) -> Iterator[Split]:
    """What happened after one moment is the test, for all users alike; what happened before is for training.

    Protects from knowing the future altogether: neither the user's own nor what others did later (an item's popularity
    and its company are of the time before). It is the split that is nearest to a deployment. The price: who came after
    the moment has no history, and who left before it is not tested. Does not protect from luck with the moment: take
    several `cuts`.

    Args:
        ratings: In any order. Events of one timestamp fall on one side.
        valid_share: Of the events before the moment: the newest ones, for validation. Above 0, below 1.
        test_share: Of all events, the newest ones. Above 0, below 1.
        cuts: How many splits; each further one ends where the test of the one before it began.

    Raises:
        TooFewRatingsError: A part would be empty.
    """
    rest = ratings.in_time_order()
    size = max(1, round(len(rest) * test_share))
    for _ in range(cuts):
        before, test = _cut(rest, len(rest) - size)
        train, valid = _cut(before, len(before) - max(1, round(len(before) * valid_share)))
        yield Split("temporal", train, valid, test).whole()
        rest = before


def _cut(ratings: Ratings, at: int) -> tuple[Ratings, Ratings]:
    """Before and from row `at` on, moved back so that rows of one timestamp stay together. `ratings` in time order."""
    if 0 < at < len(ratings):
        at = int(np.searchsorted(ratings.timestamp, ratings.timestamp[at], side="left"))
    rows = np.arange(len(ratings))
    return ratings.take(rows[: max(0, at)]), ratings.take(rows[max(0, at) :])


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
