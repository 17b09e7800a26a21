"""Answers of a model as serialised lists, and the look for excluded items, beside plain Python."""

import numpy as np
import pytest
import tensorflow as tf

from tastemaker.artefacts.v1.state_pb2 import RankedList
from tastemaker_jobs.precompute.exclusion import Overlaps
from tastemaker_jobs.precompute.ranked_lists import Ranker, hashes

pytestmark = pytest.mark.slow

ROWS, ANSWERED, ITEMS = 50, 12, 30


@pytest.fixture(scope="module")
def answers():
    """Items [B, K] and scores [B, K]: some rows are full, others end in padding, some are empty."""
    rng = np.random.default_rng(0)
    items = np.full((ROWS, ANSWERED), b"", object)
    scores = np.full((ROWS, ANSWERED), -np.inf, np.float32)
    for row, count in enumerate(rng.integers(0, ANSWERED + 1, ROWS)):
        items[row, :count] = [f"película-{item}".encode() for item in rng.choice(ITEMS, count, replace=False)]
        scores[row, :count] = np.sort(rng.normal(size=count))[::-1]
    return items, scores


def ranked(answers, *, k, departed=(), rows=ROWS):
    items, scores = map(tf.constant, answers)

    def ask(history, exclude, k):
        del history, exclude
        return {"item_id": items[:, :k], "score": scores[:, :k]}

    ranker = Ranker(ask, tf.TensorSpec([None, None], tf.string, "history"), k=k, departed=departed)
    nobody = np.zeros((ROWS, 1), np.int32)
    return ranker(tf.constant([""]), nobody, nobody, rows=rows, k=ANSWERED)


@pytest.mark.parametrize("departed", [(), [f"película-{item}".encode() for item in range(0, ITEMS, 3)]])
@pytest.mark.parametrize("k", [1, 5, ANSWERED, 100])
def test_lists_are_byte_for_byte_what_protobuf_writes(answers, k, departed):
    found = ranked(answers, k=k, departed=departed)
    for row, (items, scores) in enumerate(zip(*answers, strict=True)):
        listed, left_out = [], 0
        for item, score in zip(items, scores, strict=True):
            if item and len(listed) < k:
                left_out += item in departed
                listed += [(item.decode(), score)] * (item not in departed)
        plain = RankedList(item_ids=[item for item, _ in listed], scores=[score for _, score in listed])
        assert found.serialised[row] == plain.SerializeToString()
        assert (found.lengths[row], found.departed[row]) == (len(listed), left_out)
        assert found.is_full[row] == bool(items[-1])


def test_rows_that_only_fill_a_batch_up_get_no_list(answers):
    found = ranked(answers, k=5, rows=3)
    assert [len(part) for part in found] == [3] * len(found)
    assert found.serialised.tolist() == ranked(answers, k=5).serialised[:3].tolist()


def test_overlaps_are_those_of_sets_and_are_forgotten_with_the_batch():
    rng, overlaps = np.random.default_rng(1), Overlaps()
    for _ in range(20):
        listed, excluded = rng.integers(0, 1 << 62, (40, 20)), rng.integers(0, 1 << 62, (40, 9))
        excluded[:, 5:] = -1
        rows = rng.choice(40, 4, replace=False)
        listed[rows, rng.integers(0, 20, 4)] = excluded[rows, rng.integers(0, 5, 4)]
        listed[(rows[0] + 1) % 40, 0] = excluded[rows[0], 0]  # what another row excludes
        expected = {row for row in range(40) if set(listed[row].tolist()) & set(excluded[row].tolist())}
        assert set(overlaps.rows(listed, excluded)) == expected
        assert expected >= set(rows.tolist())


def test_ids_that_share_a_mark_are_not_taken_for_each_other():
    listed = np.array([[1, 1 + (1 << 23)]])
    assert Overlaps().rows(listed, np.array([[1 + (1 << 24)]])) == []


def test_different_ids_have_different_hashes():
    assert len(set(hashes(tf.constant([f"item-{number}" for number in range(100_000)])).numpy().tolist())) == 100_000
