"""What models of the next item share: windows of histories, and the table of items with its losses."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
tf = pytest.importorskip("tensorflow")

from tastemaker_jobs.errors import ConfigError  # noqa: E402
from tastemaker_jobs.models.next_items import ItemTable, NextItemConfig, has_next, windows  # noqa: E402
from tastemaker_jobs.testing.models import training_data  # noqa: E402


def table(item_count, **settings):
    made = ItemTable(NextItemConfig(embedding_size=4, **settings), item_count=item_count, seed=3)
    rng = np.random.default_rng(0)
    made.embeddings.assign(rng.normal(size=made.embeddings.shape))
    made.bias.assign(rng.normal(size=made.bias.shape))
    return made


def batch(items, weights=None):
    items = np.array(items, dtype=np.int32)
    weights = np.ones(items.shape) if weights is None else np.array(weights)
    return {"items": tf.constant(items), "weights": tf.constant(weights, tf.float32)}


def vectors(some_batch):
    count = int(tf.reduce_sum(tf.cast(has_next(some_batch["items"]), tf.int32)))
    return tf.constant(np.random.default_rng(1).normal(size=(count, 4)), tf.float32)


def test_windows_cover_every_next_item_once_or_more():
    history = np.arange(1, 24, dtype=np.int32)
    data = training_data([history, history[:1], history[:3]], item_count=30)
    for seed in range(5):
        items = windows(data, 4, np.random.default_rng(seed))["items"]
        pairs = {(a, b) for row in items for a, b in pairwise(row) if a and b}
        assert pairs == {(item, item + 1) for item in range(1, 23)}
        assert items.shape[1] == 5


def test_windows_keep_weights_beside_their_items():
    data = training_data([np.arange(1, 12), [3, 4]], item_count=12)
    weighed = dataclasses.replace(data, weights=tuple(history.astype(np.float32) * 2 for history in data.histories))
    cut = windows(weighed, 4, np.random.default_rng(0))
    np.testing.assert_array_equal(cut["weights"], cut["items"] * 2)


def test_seen_items_do_not_compete_unless_items_may_come_again():
    some = batch([[0, 1, 2, 3], [2, 2, 2, 4]])  # positions 1 and 2 of the first row, all of the second
    vector = vectors(some)
    for repeats in (False, True):
        made = table(5, repeats=repeats)
        scores = made.scores(vector).numpy()  # [5, 5]
        targets, seen = [2, 3, 2, 2, 4], [{1}, {1, 2}, {2}, {2}, {2}]
        expected = []
        for row, target, had in zip(scores, targets, seen, strict=True):
            competing = [item for item in range(1, 6) if repeats or item == target or item not in had]
            log_sum = np.log(np.exp(row[np.array(competing) - 1]).sum())
            popularity = made.bias.numpy()[target - 1] - np.log(np.exp(made.bias.numpy()).sum())
            expected.append(log_sum - row[target - 1] - 0.1 * popularity)
        assert made.loss(vector, some).numpy() == pytest.approx(np.mean(expected), rel=1e-5)


def test_events_count_by_their_weight():
    made, items = table(5, repeats=True), [[1, 2, 3]]
    vector = vectors(batch(items))
    first, second = (made.loss(vector, batch(items, [[9.0, *weights]])).numpy() for weights in ((1, 0), (0, 1)))
    both = made.loss(vector, batch(items, [[9.0, 1.0, 3.0]])).numpy()
    assert both == pytest.approx((first + 3 * second) / 4, rel=1e-5)
    assert made.loss(vector, batch(items, [[1.0, 0.0, 0.0]])).numpy() == 0


def test_many_negatives_approximate_the_full_softmax():
    """The log of how often an item is drawn makes up for popular items being drawn more often."""
    rng = np.random.default_rng(2)
    some = batch(rng.integers(1, 301, size=(8, 21)))
    vector = vectors(some)
    full = table(300).loss(vector, some).numpy()
    sampled = tf.function(table(300, negatives=150).loss)
    mean = np.mean([sampled(vector, some).numpy() for _ in range(20)])
    assert mean == pytest.approx(full, rel=0.02)
    few = tf.function(table(300, negatives=5).loss)
    assert abs(np.mean([few(vector, some).numpy() for _ in range(20)]) - full) > abs(mean - full)


def test_seen_items_do_not_compete_in_a_sample_either():
    some = batch([[1, 2, 3, 30]], [[0.0, 0.0, 0.0, 1.0]])
    losses = {}
    for repeats in (False, True):
        made = table(30, negatives=20, repeats=repeats)
        made.bias.assign([12.0] * 2 + [0.0] * 28)  # of the items that are drawn the most, and that the user has
        losses[repeats] = np.mean([made.loss(tf.zeros([3, 4]), some).numpy() for _ in range(5)])
    assert losses[False] < 6
    assert losses[True] > 11


def test_more_negatives_than_items_are_the_full_softmax():
    some = batch([[1, 2, 3, 4]])
    vector = vectors(some)
    assert table(5, negatives=9).loss(vector, some).numpy() == table(5).loss(vector, some).numpy()


def test_negatives_may_be_none_but_not_fewer():
    with pytest.raises(ConfigError, match="negatives is -1"):
        NextItemConfig(negatives=-1)


def test_a_window_of_padding_alone_has_no_loss():
    assert table(5).loss(tf.zeros([0, 4]), batch([[0, 0, 1]])).numpy() == 0
