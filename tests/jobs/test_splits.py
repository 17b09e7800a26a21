"""Splits: what is held out, and that order of time and of the file decide."""

import numpy as np

from tastemaker_jobs.data.ratings import Ratings, read_ratings
from tastemaker_jobs.data.splits import leave_last_out
from tastemaker_jobs.data.vocabulary import Vocabulary
from tastemaker_jobs.testing.synthetic import synthetic_ratings


def ratings_of(*rows: tuple[str, str, int]) -> Ratings:
    users, items, times = zip(*rows, strict=True)
    ones = np.ones(len(rows), dtype=np.float32)
    return Ratings(np.array(users, object), np.array(items, object), ones, np.array(times, np.int64))


def test_last_and_second_last_by_time_are_held_out():
    split = leave_last_out(ratings_of(("a", "4", 40), ("a", "1", 10), ("a", "3", 30), ("a", "2", 20)))
    assert split.train.histories() == {"a": ["1", "2"]}
    assert split.valid.histories() == {"a": ["3"]}
    assert split.test.histories() == {"a": ["4"]}


def test_ties_of_time_keep_file_order():
    split = leave_last_out(ratings_of(("a", "x", 5), ("b", "q", 5), ("a", "w", 5), ("a", "y", 5), ("a", "z", 5)))
    assert split.train.histories() == {"a": ["x", "w"], "b": ["q"]}
    assert split.valid.histories() == {"a": ["y"]}
    assert split.test.histories() == {"a": ["z"]}


def test_users_with_fewer_than_three_events_are_trained_on_only():
    split = leave_last_out(ratings_of(("a", "1", 1), ("a", "2", 2), ("b", "1", 1)))
    assert len(split.train) == 3
    assert len(split.valid) == len(split.test) == 0


def test_no_row_is_lost_or_used_twice():
    ratings = synthetic_ratings(seed=5)
    split = leave_last_out(ratings)
    parts = [
        row
        for part in (split.train, split.valid, split.test)
        for row in zip(part.user_id, part.item_id, part.rating, part.timestamp, strict=True)
    ]
    rows = zip(ratings.user_id, ratings.item_id, ratings.rating, ratings.timestamp, strict=True)
    assert sorted(parts) == sorted(rows)


def test_parts_are_in_time_order():
    split = leave_last_out(synthetic_ratings(seed=5))
    assert all((np.diff(part.timestamp) >= 0).all() for part in (split.train, split.valid, split.test))


def test_movielens_split_is_the_known_one(ml_100k):
    split = leave_last_out(read_ratings(ml_100k.ratings_path))
    assert (len(split.train), len(split.valid), len(split.test)) == (98_114, 943, 943)
    last = dict(zip(split.test.user_id, split.test.item_id, strict=True))
    rows = ml_100k.ratings_path.read_text().splitlines()[1:]
    of_user = [row.split(",") for row in rows if row.startswith("1,")]
    assert last["1"] == max(enumerate(of_user), key=lambda pair: (int(pair[1][3]), pair[0]))[1][1]


def test_vocabulary_puts_the_popular_first_and_breaks_ties_by_id():
    vocabulary = Vocabulary.of(["b", "c", "a", "c", "b"])
    assert vocabulary.item_ids == ("b", "c", "a")
    assert vocabulary.encode(["a", "unknown", "b"]).tolist() == [3, 1]
