"""A split whose parts were given as files of their own, rather than made here from one file."""

import dataclasses

import numpy as np

from tastemaker_jobs.data.ratings import Ratings
from tastemaker_jobs.data.splits import Split
from tastemaker_jobs.data.stable_hash import stable_hash

__all__ = ["GIVEN", "given_split"]

GIVEN = "given"
"""What such a split is called where nobody says which protocol it follows."""

_MIN_EVENTS_FOR_HOLDOUT = 2  # one to know the user by, one to validate
_MAX_VALIDATION_USERS = 10_000  # they are asked after every epoch


def given_split(
    train: Ratings,
    *,
    valid: Ratings | None = None,
    test: Ratings | None = None,
    fold_in: Ratings | None = None,
    protocol: str = GIVEN,
) -> Split:
    """Files as a split. Nothing is moved, except that training needs something to stop by.

    Args:
        train: To learn from. Without `valid` and `test`, each user's newest event is held out of it and decides when
            training stops (of the first 10,000 users by hash of the id, where there are more).
        valid: Decides when training stops. Users whom `train` does not know are asked for the newest fifth of their
            events, knowing the others.
        test: For reported figures.
        fold_in: What is known of users that are not trained on.
        protocol: What the split follows; decides what the leakage check looks for.
    """
    nothing = train.take(np.array([], dtype=np.int64))
    train = train.without_repeats().in_time_order()
    split = Split(protocol, train, nothing, test.in_time_order() if test else nothing, fold_in or nothing)
    if valid is not None:
        return _with_validation(split, valid.without_repeats().in_time_order())
    return split if test is not None else _newest_held_out(split)


def _newest_held_out(split: Split) -> Split:
    rows: dict[str, list[int]] = {}
    for row, user in enumerate(split.train.user_id):
        rows.setdefault(user, []).append(row)
    users = sorted((u for u, found in rows.items() if len(found) >= _MIN_EVENTS_FOR_HOLDOUT), key=stable_hash)
    held_out = np.zeros(len(split.train), dtype=np.bool_)  # [N]
    held_out[[rows[user][-1] for user in users[:_MAX_VALIDATION_USERS]]] = True
    return dataclasses.replace(split, train=split.train.where(~held_out), valid=split.train.where(held_out))


def _with_validation(split: Split, valid: Ratings) -> Split:
    known = set(split.train.user_id) | set(split.fold_in.user_id)
    total, seen = valid.histories(), dict.fromkeys(valid.user_id, 0)
    asked = np.ones(len(valid), dtype=np.bool_)  # [N]
    for row, user in enumerate(valid.user_id):
        seen[user] += 1
        if user not in known:
            asked[row] = seen[user] > len(total[user]) * 4 // 5
    fold_in = Ratings.joined(split.fold_in, valid.where(~asked))
    return dataclasses.replace(split, valid=valid.where(asked), fold_in=fold_in)
