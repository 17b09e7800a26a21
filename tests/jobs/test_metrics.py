"""Metrics: known values, ties, nobody to test."""

import math

import pytest

from tastemaker_jobs.evaluation.metrics import judge
from tastemaker_jobs.evaluation.popularity import popular_lists
from tastemaker_jobs.evaluation.protocol import Questions


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
