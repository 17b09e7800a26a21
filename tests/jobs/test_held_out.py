"""Splits that hold out users, items, folds or stretches of time: what each keeps away from training."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from tastemaker_jobs.data.folds import rolling_origin, stratified_folds, user_folds
from tastemaker_jobs.data.held_out import cold_items, cold_users, strong_generalisation
from tastemaker_jobs.data.ratings import Ratings, read_ratings
from tastemaker_jobs.data.splits import Split, global_temporal
from tastemaker_jobs.errors import TooFewRatingsError
from tastemaker_jobs.testing.synthetic import synthetic_ratings

RATINGS = synthetic_ratings(seed=5, users=60).without_repeats()


def rows_of(*parts: Ratings) -> list[tuple[object, ...]]:
    joined = Ratings.joined(*parts)
    return sorted(zip(joined.user_id, joined.item_id, joined.rating, joined.timestamp, strict=True))


def shuffled(ratings: Ratings) -> Ratings:
    """The same events in another file order, those of one timestamp in theirs."""
    order = np.random.default_rng(0).permutation(len(ratings))
    return ratings.take(order[np.argsort(ratings.timestamp[order], kind="stable")])


SPLITS = {
    "temporal": lambda ratings: global_temporal(ratings, cuts=2),
    "strong-generalisation": lambda ratings: strong_generalisation(ratings, min_rating=1, repeats=2),
    "cold-users": cold_users,
    "cold-items": lambda ratings: cold_items(ratings, folds=4),
    "user-folds": user_folds,
    "rolling-origin": lambda ratings: rolling_origin(ratings, folds=3),
}


@pytest.mark.parametrize("split_of", SPLITS.values(), ids=SPLITS)
def test_parts_share_no_row_and_are_in_time_order(split_of):
    for split in split_of(RATINGS):
        parts = (split.train, split.valid, split.test, split.fold_in)
        assert set(Counter(rows_of(*parts)).values()) == {1}
        assert all((np.diff(part.timestamp) >= 0).all() for part in parts)
        assert all(len(part) for part in parts[:3])


@pytest.mark.parametrize("name", ["strong-generalisation", "cold-items", "user-folds"])
def test_hash_of_the_id_decides_and_not_the_order_of_rows(name):
    for one, other in zip(SPLITS[name](RATINGS), SPLITS[name](shuffled(RATINGS)), strict=True):
        for part in ("train", "valid", "test", "fold_in"):
            assert rows_of(getattr(one, part)) == rows_of(getattr(other, part))


def assert_users_are_apart(split: Split) -> None:
    users = [set(part.user_id) for part in (split.train, split.valid, split.test)]
    assert users[0].isdisjoint(users[1] | users[2])
    assert users[1].isdisjoint(users[2])
    assert set(split.fold_in.user_id) >= users[2]


def test_temporal_split_is_one_moment_for_all():
    for split in global_temporal(RATINGS, cuts=3):
        assert split.train.timestamp.max() < split.valid.timestamp.min()
        assert split.valid.timestamp.max() < split.test.timestamp.min()


def test_events_of_one_timestamp_are_not_torn_apart():
    same = Ratings(RATINGS.user_id, RATINGS.item_id, RATINGS.rating, RATINGS.timestamp // 100_000)
    split = next(global_temporal(same))
    assert not set(split.train.timestamp) & set(split.test.timestamp)


def test_strong_generalisation_folds_in_four_fifths_of_users_it_never_trained_on():
    for split in strong_generalisation(RATINGS, min_rating=1):
        assert_users_are_apart(split)
        folded = Counter(split.fold_in.user_id)
        for user, count in Counter(split.test.user_id).items():
            assert count == (count + folded[user]) // 5


def test_strong_generalisation_takes_liked_items_and_busy_users_only():
    split = next(strong_generalisation(RATINGS, min_rating=4, min_events=5))
    everything = Ratings.joined(split.train, split.valid, split.test, split.fold_in)
    assert everything.rating.min() >= 4
    assert min(Counter(everything.user_id).values()) >= 5


def test_cold_users_are_known_by_their_first_events():
    tested: list[str] = []
    for split in cold_users(RATINGS, known_events=2, folds=5):
        assert_users_are_apart(split)
        histories = split.fold_in.histories()
        assert {len(histories[user]) for user in split.test.user_id} == {2}
        first_wanted = {}
        for user, time in zip(split.test.user_id, split.test.timestamp, strict=True):
            first_wanted.setdefault(user, time)
        for user, time in zip(split.fold_in.user_id, split.fold_in.timestamp, strict=True):
            assert time <= first_wanted.get(user, time)
        tested += set(split.test.user_id)
    assert sorted(tested) == sorted(set(RATINGS.user_id))


def test_cold_items_are_in_no_other_part():
    tested: set[str] = set()
    for split in cold_items(RATINGS, folds=4):
        assert set(split.test.item_id).isdisjoint([*split.train.item_id, *split.valid.item_id])
        assert tested.isdisjoint(split.test.item_id)
        tested |= set(split.test.item_id)
    assert tested == set(RATINGS.item_id)


def test_user_folds_test_every_user_once():
    splits = list(user_folds(RATINGS, folds=4))
    for split in splits:
        assert_users_are_apart(split)
    assert Counter(user for split in splits for user in set(split.test.user_id)) == Counter(set(RATINGS.user_id))


def test_rolling_origin_goes_forward_and_tests_nothing_twice():
    splits = list(rolling_origin(RATINGS, folds=3))
    assert [len(split.train) for split in splits] == sorted(len(split.train) for split in splits)
    for earlier, later in pairwise(splits):
        assert earlier.test.timestamp.max() < later.test.timestamp.min()


def test_stratified_folds_have_every_class_alike_and_keep_equal_ids_together():
    ids = [f"picture-{number}" for number in range(103)] * 2
    labels = [number % 3 for number in range(103)] * 2
    tested: list[int] = []
    for train, test in stratified_folds(ids, labels, folds=5):
        assert not {ids[row] for row in train} & {ids[row] for row in test}
        counts = Counter(labels[row] for row in test)
        assert max(counts.values()) - min(counts.values()) <= 4
        tested += test.tolist()
    assert sorted(tested) == list(range(206))


def test_too_little_to_split_is_an_error():
    with pytest.raises(TooFewRatingsError, match="temporal leaves nothing for: train"):
        next(global_temporal(RATINGS.take(np.array([0]))))
    with pytest.raises(TooFewRatingsError, match="strong-generalisation"):
        next(strong_generalisation(RATINGS, min_rating=6))
    with pytest.raises(TooFewRatingsError, match="fewer folds"):
        next(stratified_folds(["a"], [0], folds=2))


def test_movielens_has_the_known_number_of_users_in_each_part(ml_100k):
    split = next(strong_generalisation(read_ratings(ml_100k.ratings_path)))
    assert [len(set(part.user_id)) for part in (split.train, split.valid, split.test)] == [638, 100, 200]


def test_an_event_written_twice_is_used_once():
    twice = Ratings.joined(RATINGS, RATINGS)
    assert rows_of(twice.without_repeats()) == rows_of(RATINGS)
    assert RATINGS.without_repeats() is RATINGS
