"""Splits that hold out users or items whole, so that nothing at all was learnt of them."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tastemaker_jobs.data.ratings import Ratings
from tastemaker_jobs.data.splits import Split
from tastemaker_jobs.data.stable_hash import stable_hash

__all__ = ["cold_items", "cold_users", "held_out_users", "strong_generalisation"]


def strong_generalisation(
    ratings: Ratings,
    *,
    min_rating: float = 4.0,
    min_events: int = 5,
    valid_users: int = 100,
    test_users: int = 200,
    repeats: int = 1,
    seed: int = 0,
) -> Iterator[Split]:
    """Whole users are held out; of each, four fifths of the items are folded in and one fifth is to be found.

    Protects from knowing the tested users: nothing about them was learnt, so it shows how well a model serves users
    who come after training. Does not protect from knowing the future: the fifth is chosen by hash, not by time.

    Source: Liang et al., "Variational Autoencoders for Collaborative Filtering" (WWW 2018), section 4.2.

    Args:
        ratings: In any order.
        min_rating: Lower ratings count as no event.
        min_events: Users with fewer are left out; 5 leaves everyone at least one item to find.
        valid_users: How many users are for validation; an eighth of them all where that is less.
        test_users: How many users are for the test; a quarter of them all where that is less.
        repeats: How many splits, each with other users.
        seed: Of the hash of the first split; the next has the next one.

    Raises:
        TooFewRatingsError: No user is left for some part.
    """
    liked = ratings.where(ratings.rating >= min_rating).in_time_order()
    counts = Counter(liked.user_id)
    enough = liked.where(np.array([counts[user] >= min_events for user in liked.user_id], dtype=np.bool_))
    for repeat_seed in range(seed, seed + repeats):
        users = sorted(set(enough.user_id), key=lambda user: stable_hash(user, seed=repeat_seed))
        for_test = min(test_users, len(users) // 4)
        for_valid = min(valid_users, len(users) // 8)
        test, valid = set(users[:for_test]), set(users[for_test : for_test + for_valid])
        yield held_out_users("strong-generalisation", enough, valid=valid, test=test, seed=repeat_seed)


def held_out_users(protocol: str, ratings: Ratings, *, valid: set[str], test: set[str], seed: int) -> Split:
    """Users held out whole, four fifths of their items folded in: the work of each split by users.

    Args:
        protocol: The split's name.
        ratings: In time order.
        valid: Users for validation.
        test: Users for the test; none of them in `valid`.
        seed: Of the hash that chooses the fifth.
    """
    by_user: dict[str, list[int]] = {}
    for row, user in enumerate(ratings.user_id):
        if user in valid or user in test:
            by_user.setdefault(user, []).append(row)
    wanted = np.zeros(len(ratings), dtype=np.bool_)  # [N]
    for rows in by_user.values():
        by_hash = sorted(
            rows, key=lambda row: stable_hash(str(ratings.user_id[row]), str(ratings.item_id[row]), seed=seed)
        )
        wanted[by_hash[: len(rows) // 5]] = True
    return _by_users(protocol, ratings, valid=valid, test=test, wanted=wanted)


def cold_users(ratings: Ratings, *, known_events: int = 3, folds: int = 5, seed: int = 0) -> Iterator[Split]:
    """Users of whom only the first few events are known, and who were not there in training; the rest is to be found.

    Protects from being good only at users with long histories, and from having learnt anything of the tested ones: it
    shows what a visitor gets in the first minutes. Does not protect from knowing what others did later.

    Args:
        ratings: In any order.
        known_events: How many of a user's first events are folded in. 0 asks with no history at all.
        folds: One split each; users are dealt to them by the hash of their id.
        seed: Of the hash.

    Raises:
        TooFewRatingsError: A part would be empty.
    """
    ordered = ratings.in_time_order()
    so_far: dict[str, int] = {}
    wanted = np.zeros(len(ordered), dtype=np.bool_)  # [N]
    for row, user in enumerate(ordered.user_id):
        wanted[row] = so_far.get(user, 0) >= known_events
        so_far[user] = so_far.get(user, 0) + 1
    fold_of = {user: stable_hash(user, seed=seed) % folds for user in so_far}
    for fold in range(folds):
        test = {user for user, number in fold_of.items() if number == fold}
        valid = {user for user, number in fold_of.items() if number == (fold + 1) % folds}
        yield _by_users("cold-users", ordered, valid=valid, test=test, wanted=wanted)


def cold_items(ratings: Ratings, *, folds: int = 10, seed: int = 0) -> Iterator[Split]:
    """Items that nobody touched in training; the test is to find them.

    Protects from being good only at items with many events: it shows what becomes of an item on its first day. A model
    that knows items only by who touched them cannot list these, and scores 0; one that looks at the item itself can.
    Does not protect from knowing the future of users and of other items.

    Args:
        ratings: In any order.
        folds: One split each; items are dealt to them by the hash of their id, whatever their popularity.
        seed: Of the hash.

    Raises:
        TooFewRatingsError: A part would be empty.
    """
    ordered = ratings.in_time_order()
    fold_of = {item: stable_hash(item, seed=seed) % folds for item in set(ordered.item_id)}
    item_fold = np.array([fold_of[item] for item in ordered.item_id], dtype=np.int64)  # [N]
    for fold in range(folds):
        test, valid = item_fold == fold, item_fold == (fold + 1) % folds
        yield Split("cold-items", ordered.where(~(test | valid)), ordered.where(valid), ordered.where(test)).whole()


def _by_users(
    protocol: str, ratings: Ratings, *, valid: set[str], test: set[str], wanted: npt.NDArray[np.bool_]
) -> Split:
    """A split with whole users held out.

    Args:
        protocol: The split's name.
        ratings: N rows in time order.
        valid: Users for validation.
        test: Users for the test.
        wanted: [N], which rows of a held-out user are to be found; the others are folded in.
    """
    of_valid = np.array([user in valid for user in ratings.user_id], dtype=np.bool_)  # [N]
    of_test = np.array([user in test for user in ratings.user_id], dtype=np.bool_)  # [N]
    held_out = of_valid | of_test
    return Split(
        protocol,
        train=ratings.where(~held_out),
        valid=ratings.where(of_valid & wanted),
        test=ratings.where(of_test & wanted),
        fold_in=ratings.where(held_out & ~wanted),
    ).whole()
