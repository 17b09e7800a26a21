"""Metrics: known values, ties, nobody to test."""

import math

import numpy as np
import pytest

from tastemaker_jobs.data.ratings import Ratings, read_ratings
from tastemaker_jobs.data.splits import Split
from tastemaker_jobs.data.vocabulary import Vocabulary
from tastemaker_jobs.evaluation import protocol
from tastemaker_jobs.evaluation.metrics import judge, per_user
from tastemaker_jobs.evaluation.protocol import Questions
from tastemaker_jobs.testing.popular import popular_lists


def values(lists, wanted):
    return {figure.name: figure.value for figure in judge(lists, wanted, seed=0)}


def test_values_by_rank():
    lists = {"first": ["a", "b"], "third": ["x", "y", "a"], "missed": ["x"], "eleventh": [*"bcdefghijk", "a"]}
    found = values(lists, dict.fromkeys(lists, "a"))
    assert found["hr@10"] == pytest.approx(2 / 4)
    assert found["ndcg@10"] == pytest.approx((1 + 1 / math.log2(4)) / 4)


def test_list_counts_in_the_order_served():
    assert values({"u": ["a", "z"]}, {"u": "a"})["ndcg@10"] == 1
    assert values({"u": ["z", "a"]}, {"u": "a"})["ndcg@10"] == pytest.approx(1 / math.log2(3))


def test_user_without_a_list_counts_as_missed():
    assert values({"u": ["a"], "empty": []}, {"u": "a", "empty": "a", "absent": "a"})["hr@10"] == pytest.approx(1 / 3)
    assert values({}, {"u": "a"})["hr@10"] == 0


def test_nobody_to_test_gives_nan():
    for figure in judge({}, {}, seed=0):
        assert math.isnan(figure.value)
        assert math.isnan(figure.lower)
        assert figure.user_count == 0


def test_interval_holds_the_mean_and_is_repeatable():
    lists = {str(user): ["a" if user % 3 else "b"] for user in range(90)}
    wanted = dict.fromkeys(lists, "a")
    hr, _ = judge(lists, wanted, seed=0)
    assert hr.value == pytest.approx(2 / 3)
    assert 0.5 < hr.lower < hr.value < hr.upper < 0.8
    assert judge(lists, wanted, seed=0)[0] == hr
    assert hr.user_count == 90


def test_popularity_leaves_out_what_the_user_has_seen():
    questions = Questions({"u": ["b"], "v": []}, {"u": "a", "v": "a"})
    assert popular_lists(questions, ["a", "b", "c"], k=2) == {"u": ["a", "c"], "v": ["a", "b"]}


def test_several_wanted_items_by_rank():
    lists, wanted = {"u": ["x", "a", "b", "y"]}, {"u": {"a", "b", "c"}}
    names = ("hr@1", "hr@2", "recall@3", "mrr@1", "mrr@10", "ndcg@3")
    found = {name: values[0] for name, values in per_user(lists, wanted, names=names).items()}
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    expected = [0, 1, 2 / 3, 0, 1 / 2, (1 / math.log2(3) + 1 / math.log2(4)) / ideal]
    assert list(found.values()) == pytest.approx(expected)


def test_seen_items_are_not_asked_for_and_users_with_nothing_else_are_left_out():
    def part(*rows: tuple[str, str, int]) -> Ratings:
        users, items, times = zip(*rows, strict=True)
        ones = np.ones(len(rows), dtype=np.float32)
        return Ratings(np.array(users, object), np.array(items, object), ones, np.array(times, np.int64))

    split = Split(
        "temporal",
        train=part(("u", "a", 1), ("v", "a", 1)),
        valid=part(("u", "b", 2), ("u", "a", 2), ("u", "d", 2)),
        test=part(("u", "a", 3), ("u", "c", 3), ("v", "a", 4), ("new", "a", 5)),
    )
    questions = protocol.test_questions(split)
    assert questions.histories == {"u": ["a", "b", "a", "d"], "new": []}
    assert questions.wanted == {"u": {"c"}, "new": {"a"}}
    assert protocol.validation_targets(split) == ({"u": ["a"], "u\n1": ["a"]}, {"u": "b", "u\n1": "d"})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("leave-last-out", {"ndcg@10": 0.0449, "hr@10": 0.0859}),
        ("strong-generalisation", {"ndcg@100": 0.267, "recall@20": 0.189}),
    ],
)
def test_popularity_on_movielens_has_the_known_figures(ml_100k, name, expected):
    """Of issue 4: exact where the test items are the same, within the interval where the users are chosen otherwise."""
    judged_by = protocol.PROTOCOLS[name]
    split = judged_by.split(read_ratings(ml_100k.ratings_path))
    questions = protocol.test_questions(split)
    popular = popular_lists(questions, Vocabulary.of(split.train.item_id).item_ids, k=100)
    figures = {figure.name: figure for figure in judge(popular, questions.wanted, seed=0, names=judged_by.metrics)}
    for metric, value in expected.items():
        assert figures[metric].lower < value < figures[metric].upper
    if name == "leave-last-out":
        assert {metric: round(figures[metric].value, 4) for metric in expected} == expected
