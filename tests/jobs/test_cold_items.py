"""Items that nobody has touched: AUC and recall among themselves by hand, what attributes say, and pieces of text."""

import numpy as np
import pytest

from tastemaker_jobs.data.held_out import cold_items
from tastemaker_jobs.data.item_features import ItemFeatures
from tastemaker_jobs.evaluation.cold_items import (
    ColdQuestions,
    attribute_popularity,
    cold_questions,
    judge_among_cold,
    judge_cold,
    user_attributes,
)
from tastemaker_jobs.evaluation.protocol import Questions
from tastemaker_jobs.testing.synthetic import synthetic_ratings


def asked(wanted, count):
    candidates = tuple(f"i{number:02}" for number in range(count))
    taken = {user: frozenset(f"i{number:02}" for number in numbers) for user, numbers in wanted.items()}
    return ColdQuestions(Questions(dict.fromkeys(wanted, ("x",)), taken), candidates)


def test_auc_counts_pairs_and_ties_by_half():
    cold = asked({"u": [0, 1]}, 4)
    auc, _ = judge_cold(cold, np.array([[3.0, 1.0, 2.0, 1.0]]), seed=0)
    assert auc.value == pytest.approx((2 + 0.5) / 4)  # item 0 is above both, item 1 is level with one of them


def test_equal_scores_are_chance():
    cold = asked({"u": [0], "v": [39]}, 40)
    auc, recall = judge_cold(cold, np.zeros((2, 40)), seed=0)
    assert (auc.value, recall.value) == (0.5, 0.5), "20 places for 40 candidates"


def test_recall_looks_at_the_twenty_best():
    cold = asked({"u": [0, 1], "v": [2]}, 40)
    falling = np.arange(40, 0, -1.0)
    _, recall = judge_cold(cold, np.stack([np.where(np.arange(40) == 1, -1, falling), falling]), seed=0)
    assert recall.value == pytest.approx((0.5 + 1) / 2)


def test_a_user_who_took_everything_has_no_auc():
    auc, recall = judge_cold(asked({"u": [0, 1], "v": [0]}, 2), np.array([[1.0, 0.0], [1.0, 0.0]]), seed=0)
    assert (auc.value, auc.user_count) == (1.0, 1)
    assert recall.user_count == 2


def features_of(kinds):
    empty = ("",) * len(kinds)
    return ItemFeatures(
        tuple(kinds), empty, tuple((kind,) if kind else () for kind in kinds.values()), (None,) * len(kinds)
    )


def test_what_attributes_say_of_popularity_comes_from_training_alone():
    split = next(iter(cold_items(synthetic_ratings(seed=1), folds=4)))
    cold = cold_questions(split)
    known = set(split.train.item_id)
    assert not known & set(cold.candidates)
    first = split.train.item_id[0]
    kinds = {item: "kind=a" if item == first else "kind=b" for item in known}
    kinds |= dict.fromkeys(cold.candidates, "kind=b") | {cold.candidates[0]: "kind=a", cold.candidates[1]: ""}
    popular = attribute_popularity(split.train, features_of(kinds))
    count = list(split.train.item_id).count(first)
    assert popular[cold.candidates[0]] == pytest.approx(np.log1p(count))
    assert min(popular.values()) <= popular[cold.candidates[1]] <= max(popular.values()), "the mean of all"

    scores = user_attributes(split.train, features_of(kinds), cold)
    assert scores.shape == (len(cold.questions.wanted), len(cold.candidates))
    has = np.array([first in history for history in cold.questions.histories.values()])
    assert scores[has, 0].min() > scores[~has, 0].max(), "who has the only one of a kind likes the kind"


def test_models_stand_beside_chance_and_attributes():
    split = next(iter(cold_items(synthetic_ratings(seed=1), folds=4)))

    def knows(questions, candidates):
        return np.array([[item in questions.wanted[user] for item in candidates] for user in questions.wanted], float)

    kinds = dict.fromkeys({*split.train.item_id, *split.test.item_id}, "kind=a")
    found = judge_among_cold(split, {"knows": knows}, features_of(kinds), seed=0)
    assert list(found) == ["chance", "popularity by attribute", "the user's attributes", "knows"]
    assert [found[name][0].value for name in ("chance", "popularity by attribute", "knows")] == [0.5, 0.5, 1.0]


@pytest.mark.slow
def test_titles_share_the_pieces_of_like_words():
    tf = pytest.importorskip("tensorflow")
    from tastemaker_jobs.models.item_text import title_pieces

    pieces = title_pieces(tf.constant(["The Warriors (1979)", "the WARRIOR", "", "Été"]), buckets=10**9).numpy()
    of_title = [set(row[row > 0]) for row in pieces]
    assert len(of_title[0]) == 4, "the, warriors, its beginning, the year"
    assert len(of_title[0] & of_title[1]) == 2, "the, and the beginning of the other word"
    assert not of_title[2]
    assert len(of_title[3]) == 1
    assert title_pieces(tf.constant(["", ""]), buckets=9).shape[0] == 2


@pytest.mark.slow
def test_attributes_that_end_in_digits_have_a_coarse_piece():
    tf = pytest.importorskip("tensorflow")
    from tastemaker_jobs.models.item_text import attribute_pieces

    given = tf.constant([["year=1995", "genre=drama"], ["year=1996", ""]])
    first, second = attribute_pieces(given, buckets=10**9).numpy()
    assert first.shape == (4,)
    assert (first > 0).tolist() == [True, True, True, False]
    assert (second > 0).tolist() == [True, False, True, False]
    assert first[2] == second[2], "both of the nineties"
    assert first[0] != second[0]


@pytest.mark.slow
def test_validation_among_untouched_items_is_their_auc():
    tf = pytest.importorskip("tensorflow")
    from tastemaker_jobs.data.vocabulary import Vocabulary
    from tastemaker_jobs.training.validation import Validation

    vocabulary = Vocabulary.of([f"i{number}" for number in range(1, 7)])
    scores = tf.function(lambda history: tf.tile([[9.0, 8.0, 3.0, 4.0, 5.0, 6.0]], [tf.shape(history)[0], 1]))
    histories = {"u": ["i1"], "v": ["i1", "i6"]}
    held_out = {"u": "i5", "v": "i5"}
    everything = Validation(vocabulary, histories, held_out)
    cold = Validation(vocabulary, histories, held_out, among={"i3", "i4", "i5", "i6"})
    assert (everything.measure, cold.measure) == ("NDCG@10", "AUC")
    # u: i3 and i4 are below i5, i6 above; v has i6 already.
    assert cold.score(scores) == pytest.approx((2 / 3 + 1) / 2)
    assert everything.score(scores) == pytest.approx((1 / np.log2(4) + 1 / np.log2(3)) / 2)
    assert [len(cold.part(number, 2)) for number in (0, 1)] == [1, 1]
    assert cold.part(0, 2).score(scores) == pytest.approx(2 / 3)
    assert np.isnan(Validation(vocabulary, {}, {}).score(scores))
