"""From lists to figures: differences, what lists are like, segments, and all of it together."""

import json
import math

import numpy as np
import pytest

from tastemaker_jobs.data.ratings import Ratings
from tastemaker_jobs.data.vocabulary import Vocabulary
from tastemaker_jobs.evaluation import protocol
from tastemaker_jobs.evaluation.assessment import as_json, assess
from tastemaker_jobs.evaluation.beyond_accuracy import MEANINGS, TrainingItems, describe_lists
from tastemaker_jobs.evaluation.comparison import compare_pairs
from tastemaker_jobs.evaluation.protocol import PROTOCOLS, Questions
from tastemaker_jobs.evaluation.segments import segments_of
from tastemaker_jobs.testing.popular import popular_lists
from tastemaker_jobs.testing.synthetic import synthetic_ratings


def training_of(**histories: str) -> TrainingItems:
    pairs = [(user, item) for user, items in histories.items() for item in items]
    users, items = (np.array(column, dtype=object) for column in zip(*pairs, strict=True))
    return TrainingItems(Ratings(users, items, np.ones(len(pairs), np.float32), np.arange(len(pairs))))


def test_better_model_is_told_from_a_luckier_one():
    rng = np.random.default_rng(0)
    base = rng.random(400)
    values = {"base": base, "noise": base + rng.normal(0, 0.2, 400), "better": base + 0.05 + rng.normal(0, 0.2, 400)}
    found = compare_pairs(values, metric="ndcg@10", seed=1)
    better, noise = found["better", "base"], found["noise", "base"]
    assert better.significant
    assert better.lower > 0
    assert not noise.significant
    assert noise.lower < 0 < noise.upper
    mirror = found["base", "better"]
    assert (mirror.value, mirror.lower, mirror.upper) == (-better.value, -better.upper, -better.lower)
    assert mirror.p_value == better.p_value
    assert compare_pairs(values, metric="ndcg@10", seed=1) == found


def test_p_values_agree_with_an_exact_test():
    """Of five users whose differences are all positive, 2 of 32 sign patterns are as far from 0."""
    values = {"one": np.array([0.5, 0.2, 0.3, 0.9, 0.4]), "other": np.zeros(5)}
    assert compare_pairs(values, metric="hr@10", seed=0)["one", "other"].p_value == pytest.approx(2 / 32, abs=0.01)


def test_equal_lists_differ_by_nothing():
    values = {"one": np.array([0.1, 0.7]), "other": np.array([0.1, 0.7])}
    difference = compare_pairs(values, metric="hr@10", seed=0)["one", "other"]
    assert (difference.value, difference.lower, difference.upper, difference.p_value) == (0, 0, 0, 1)


def test_differences_without_users_are_nan():
    difference = compare_pairs({"one": np.array([]), "other": np.array([])}, metric="hr@10", seed=0)["other", "one"]
    assert math.isnan(difference.value)
    assert not difference.significant


def test_what_lists_are_like():
    items = training_of(one="ab", two="ab", three="ac", four="ad")
    figures = describe_lists({"u": ["a", "b"], "v": ["c", "d"], "w": []}, {"u": ["a"], "v": ["d"]}, items, seed=0)
    found = {figure.name: figure for figure in figures}
    assert list(found) == list(MEANINGS)
    assert found["coverage"].value == 1
    assert found["novelty"].value == pytest.approx(np.mean([(0 + 1) / 2, 2]))
    assert found["diversity"].value == pytest.approx(np.mean([1 - 2 / math.sqrt(8), 1]))
    assert found["popularity lift"].value == pytest.approx(np.mean([3 / 4 - 1, 0]))
    assert found["exposure gini"].value == pytest.approx(0)
    assert found["novelty"].user_count == 2


def test_no_lists_are_like_nothing():
    for figure in describe_lists({}, {}, training_of(one="ab"), seed=0):
        assert math.isnan(figure.value)


def test_segments_share_out_users_and_test_items():
    lengths = {"new": 0, "cold": 3, **{f"user-{length}": length for length in (6, 10, 20, 60)}}
    histories = {user: [f"seen-{number}" for number in range(length)] for user, length in lengths.items()}
    wanted = {user: frozenset({"a", "fresh"} if user == "new" else {"c"}) for user in lengths}
    items = training_of(one="abc", two="ab", three="a", four="a")
    found = {segment.name: segment.wanted for segment in segments_of(Questions(histories, wanted), items)}
    assert {name: sorted(users) for name, users in found.items()} == {
        "new users": ["new"],
        "cold users": ["cold"],
        "light users": ["user-6"],
        "middle users": ["user-10", "user-20"],
        "heavy users": ["user-60"],
        "head items": ["new"],
        "tail items": sorted(set(lengths) - {"new"}),
        "cold items": ["new"],
    }
    assert found["cold items"] == {"new": {"fresh"}}
    assert found["head items"] == {"new": {"a"}}


def test_right_items_of_another_segment_take_no_place_away():
    items = training_of(one="abc", two="ab", three="a", four="a")
    segments = segments_of(Questions({"u": []}, {"u": {"a", "b"}}), items)
    tail = next(segment for segment in segments if segment.name == "tail items")
    assert tail.wanted == {"u": {"b"}}
    assert tail.lists({"u": ["a", "c", "b"]}) == {"u": ["c", "b"]}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_is_assessed_from_split_to_json(name):
    judged_by = PROTOCOLS[name]
    split = judged_by.split(synthetic_ratings(seed=5, users=60))
    questions = protocol.test_questions(split)
    popular = popular_lists(questions, Vocabulary.of(split.train.item_id).item_ids, k=judged_by.longest_list)
    oracle = {user: sorted(items) for user, items in questions.wanted.items()}
    assessment = assess(
        {"popularity": popular, "oracle": oracle, "silent": {}},
        questions=questions,
        split=split,
        protocol=judged_by,
        dataset="films",
        seed=0,
    )
    first = judged_by.metrics[0]
    best = assessment.judged[1]
    assert best.figures[0].value == 1
    assert all(figure.value == 1 or math.isnan(figure.value) for figure in best.segments)
    assert assessment.differences[first]["oracle", "silent"].value == 1
    content = json.loads(json.dumps(as_json(assessment), allow_nan=False))
    assert content["models"]["silent"]["metrics"][0]["value"] == 0
    nobody = [name for name, figure in content["models"]["oracle"]["segments"].items() if figure["user_count"] == 0]
    assert all(content["models"]["oracle"]["segments"][name]["value"] is None for name in nobody)
