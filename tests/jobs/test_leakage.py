"""The leakage check: what it refuses, and that honest splits pass."""

import dataclasses
import pickle

import numpy as np
import pytest

from tastemaker.artefacts.v1 import manifest_pb2
from tastemaker_jobs.data.folds import rolling_origin, user_folds
from tastemaker_jobs.data.ratings import Ratings
from tastemaker_jobs.data.splits import Split
from tastemaker_jobs.data.vocabulary import Vocabulary
from tastemaker_jobs.errors import LeakageError
from tastemaker_jobs.evaluation.leakage import FittedOn, check_fitted, check_folds, check_split, check_trained_on
from tastemaker_jobs.evaluation.protocol import PROTOCOLS
from tastemaker_jobs.publishing.manifests import data_window
from tastemaker_jobs.publishing.training_records import TrainingRecord, fingerprint
from tastemaker_jobs.testing.synthetic import synthetic_ratings

RATINGS = synthetic_ratings(seed=5, users=60)


def split_by(protocol: str) -> Split:
    return PROTOCOLS[protocol].split(RATINGS)


def with_training(split: Split, extra: Ratings) -> Split:
    return dataclasses.replace(split, train=Ratings.joined(split.train, extra))


def at(ratings: Ratings, seconds: int) -> Ratings:
    return dataclasses.replace(ratings, timestamp=np.full(len(ratings), seconds, dtype=np.int64))


def fitted_on(split: Split, *, record: bool = True, sha256: str = "ours", train: Ratings | None = None) -> FittedOn:
    train = split.train if train is None else train
    window = data_window(train, dataset="films", sha256=sha256)
    kept = TrainingRecord(split.protocol, fingerprint(train), ()) if record else None
    return FittedOn(manifest_pb2.ModelManifest(name="rnn", data_window=window), kept)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_honest_split_passes(protocol):
    split = split_by(protocol)
    check_split(split)
    check_fitted(Vocabulary.of(split.train.item_id).item_ids, split, name="rnn")
    for record in (True, False):
        check_trained_on(fitted_on(split, record=record), split, sha256="ours", name="rnn")


def test_honest_folds_pass():
    check_folds(list(user_folds(RATINGS.without_repeats())))
    check_folds(list(rolling_origin(RATINGS.without_repeats(), folds=3)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("part", ["valid", "test"])
def test_held_out_event_in_training_is_refused(protocol, part):
    split = split_by(protocol)
    with pytest.raises(LeakageError, match=f"duplicates: 1 event .* of the {part} part"):
        check_split(with_training(split, getattr(split, part).take(np.array([0]))))


def test_test_event_in_validation_is_refused():
    split = split_by("temporal")
    with pytest.raises(LeakageError, match="in the validation part, duplicates: 2 events"):
        check_split(dataclasses.replace(split, valid=Ratings.joined(split.valid, split.test.take(np.array([0, 1])))))


def test_training_event_later_than_the_moment_is_refused():
    split = split_by("temporal")
    late = at(split.train.take(np.array([0])), int(split.test.timestamp.min()) + 1)
    with pytest.raises(LeakageError, match=r"1 event .* later than the split: not before the first one of the test"):
        check_split(with_training(split, late))


def test_training_event_later_than_the_users_test_is_refused():
    split = split_by("leave-last-out")
    user = split.test.user_id[0]
    of_user = split.train.where(split.train.user_id == user).take(np.array([0]))
    with pytest.raises(LeakageError, match=rf"1 event \(user {user}\) later than the split: after their user's own"):
        check_split(with_training(split, at(of_user, int(split.test.timestamp.max()) + 1)))


@pytest.mark.parametrize("protocol", ["strong-generalisation", "cold-users"])
def test_held_out_user_in_training_is_refused(protocol):
    split = split_by(protocol)
    with pytest.raises(LeakageError, match="training knows 1 user"):
        check_split(with_training(split, at(split.test.take(np.array([0])), 1)))


def test_held_out_item_in_training_is_refused():
    split = split_by("cold-items")
    with pytest.raises(LeakageError, match="training knows 1 item"):
        check_split(with_training(split, at(split.test.take(np.array([0])), 1)))


def test_event_tested_in_two_folds_is_refused():
    folds = list(user_folds(RATINGS.without_repeats()))
    with pytest.raises(LeakageError, match="tested in several folds"):
        check_folds([*folds, folds[0]])


def test_vocabulary_of_all_events_is_refused():
    split = split_by("cold-items")
    everything = Vocabulary.of(RATINGS.item_id).item_ids
    with pytest.raises(LeakageError, match=r"vocabulary has . items? .* only held-out events have"):
        check_fitted(everything, split, name="rnn")
    check_fitted(
        [*Vocabulary.of(split.train.item_id).item_ids, *set(split.test.item_id)],
        split,
        name="content",
        catalogue=frozenset(RATINGS.item_id),
    )


@pytest.mark.parametrize(("parts", "says"), [(("test",), "the test"), (("valid", "test"), "validation and test")])
def test_popularity_counted_on_held_out_events_is_refused(parts, says):
    split = split_by("temporal")
    counted = Ratings.joined(split.train, *(getattr(split, part) for part in parts))
    known = set(split.train.item_id)
    leaky = [item for item in Vocabulary.of(counted.item_id).item_ids if item in known]
    with pytest.raises(LeakageError, match=f"popularity.* counted with {says} included"):
        check_fitted(leaky, split, name="rnn")


@pytest.mark.parametrize("record", [True, False])
def test_model_trained_on_another_split_is_refused(record):
    fitted = fitted_on(split_by("leave-last-out"), record=record)
    with pytest.raises(LeakageError, match=r"rnn/3 leaks(.|\n)*later than the split(.|\n)*--protocol temporal"):
        check_trained_on(fitted, split_by("temporal"), sha256="ours", name="rnn/3")


def test_model_trained_on_an_altered_part_is_refused():
    split = split_by("leave-last-out")
    swapped = split.train.take(np.arange(len(split.train))[::-1])
    with pytest.raises(LeakageError):
        check_trained_on(fitted_on(split, train=swapped), split, sha256="ours", name="rnn")


def test_model_of_another_file_passes_only_if_all_of_it_is_older():
    split = split_by("temporal")
    older = split.train.take(np.arange(50))
    check_trained_on(fitted_on(split, train=older, sha256="theirs"), split, sha256="ours", name="rnn")
    with pytest.raises(LeakageError, match=r"another file \(films\)"):
        check_trained_on(fitted_on(split, train=split.test, sha256="theirs"), split, sha256="ours", name="rnn")


def test_leakage_error_survives_the_way_home_from_a_worker():
    error = LeakageError("rnn", ["one", "two"], "Fix it.")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301  # our own bytes
