"""K-fold splits: every user, every labelled example, or every stretch of time is tested once."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tastemaker_jobs.data.held_out import held_out_users
from tastemaker_jobs.data.ratings import Ratings
from tastemaker_jobs.data.splits import Split, global_temporal
from tastemaker_jobs.data.stable_hash import stable_hash
from tastemaker_jobs.errors import TooFewRatingsError

__all__ = ["rolling_origin", "stratified_folds", "user_folds"]


def user_folds(ratings: Ratings, *, folds: int = 5, seed: int = 0) -> Iterator[Split]:
    """Users dealt to K folds by the hash of their id; each fold is the test once, the next one is for validation.

    Protects from luck with one choice of users: the spread over folds shows how much it matters. As the hash alone
    decides, a user stays in one fold when rows are added, removed or reordered. Does not protect from knowing the
    future, as `rolling_origin` does.

    Args:
        ratings: In any order. Of a tested user, four fifths of the items are folded in, one fifth is to be found.
        folds: K, 3 or more: one for the test, one for validation, one to train on.
        seed: Of the hash.

    Raises:
        TooFewRatingsError: A part would be empty.
    """
    ordered = ratings.in_time_order()
    fold_of = {user: stable_hash(user, seed=seed) % folds for user in set(ordered.user_id)}
    if empty := folds - len(set(fold_of.values())):
        raise TooFewRatingsError(
            f"{len(fold_of)} users cannot be dealt to {folds} folds: {empty} of them would have none. Ask for fewer"
            " --folds, or give ratings of more users."
        )
    for fold in range(folds):
        test = {user for user, number in fold_of.items() if number == fold}
        valid = {user for user, number in fold_of.items() if number == (fold + 1) % folds}
        yield held_out_users("user-folds", ordered, valid=valid, test=test, seed=seed)


def stratified_folds(
    ids: Sequence[str], labels: Sequence[int], *, folds: int = 5, seed: int = 0
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Labelled examples dealt to K folds, each class spread evenly: for classifiers.

    Protects from folds that lack a class or have too much of it, and from luck with one choice of examples. Examples
    that are the same picture twice must have one id, else they may stand on both sides: equal ids stay together.

    Args:
        ids: [N], of the examples; their hash decides, not their order.
        labels: [N] class numbers.
        folds: K, 2 or more.
        seed: Of the hash.

    Yields:
        Row numbers for training and for the test, each rising; over all folds every row is tested once.

    Raises:
        TooFewRatingsError: There are fewer ids than folds.
    """
    classes: dict[int, set[str]] = {}
    for name, label in zip(ids, labels, strict=True):
        classes.setdefault(label, set()).add(name)
    fold_of: dict[str, int] = {}
    for label in sorted(classes):
        # Each class goes on where the last one stopped, so that folds differ in size by one at most.
        for name in sorted(classes[label] - fold_of.keys(), key=lambda name: stable_hash(name, seed=seed)):
            fold_of[name] = len(fold_of) % folds
    if len(fold_of) < folds:
        raise TooFewRatingsError(f"{len(fold_of)} examples cannot be dealt to {folds} folds. Ask for fewer folds.")
    number = np.array([fold_of[name] for name in ids], dtype=np.int64)  # [N]
    for fold in range(folds):
        yield np.flatnonzero(number != fold), np.flatnonzero(number == fold)


def rolling_origin(ratings: Ratings, *, folds: int = 5, test_share: float = 0.1) -> Iterator[Split]:
    """The moment of `global_temporal` moved through time: train on what came before, test on what came next.

    Protects from knowing the future and from luck with one moment: it shows whether a model stays good as the data
    grows, as a model that is trained anew each week must. No test overlaps another one.

    Args:
        ratings: In any order.
        folds: How many moments; the oldest comes first.
        test_share: Of all events, tested at each moment; folds times this is below 1.

    Raises:
        TooFewRatingsError: A part would be empty.
    """
    yield from reversed(list(global_temporal(ratings, test_share=test_share, cuts=folds)))
