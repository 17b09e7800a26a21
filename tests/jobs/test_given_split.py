"""Splits whose parts are files of their own."""

import numpy as np

from tastemaker_jobs.data.given_split import given_split
from tastemaker_jobs.data.ratings import Ratings
from tastemaker_jobs.evaluation.protocol import validation_targets


def ratings(*rows: tuple[str, str, int]) -> Ratings:
    users, items, times = zip(*rows, strict=True)
    ones = np.ones(len(rows), np.float32)
    return Ratings(np.array(users, object), np.array(items, object), ones, np.array(times))


TRAIN = ratings(("u", "c", 3), ("u", "a", 1), ("v", "x", 9), ("u", "b", 2))


def test_without_validation_each_users_newest_event_is_held_out():
    split = given_split(TRAIN)
    assert list(split.train.item_id) == ["a", "b", "x"]
    assert list(split.valid.item_id) == ["c"], "who has one event keeps it"
    assert not len(split.test)


def test_with_a_test_nothing_is_held_out():
    split = given_split(TRAIN, test=ratings(("u", "d", 4)), protocol="leave-last-out")
    assert list(split.train.item_id) == ["a", "b", "c", "x"]
    assert (len(split.valid), split.protocol) == (0, "leave-last-out")


def test_validation_users_whom_training_does_not_know_are_asked_for_their_newest_fifth():
    strangers = ratings(*(("w", f"i{number}", number) for number in range(10)), ("u", "d", 20))
    split = given_split(TRAIN, valid=strangers)
    assert list(split.train.item_id) == ["a", "b", "c", "x"]
    assert list(split.fold_in.item_id) == [f"i{number}" for number in range(8)]
    histories, targets = validation_targets(split)
    assert targets == {"w": "i8", "w\n1": "i9", "u": "d"}
    assert histories["w"] == [f"i{number}" for number in range(8)]
    assert histories["u"] == ["a", "b", "c"]
