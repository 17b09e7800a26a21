"""The convolutions: the contract of every model, and what is their own."""

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
tf = pytest.importorskip("tensorflow")

from tastemaker_jobs.models.cnn import Cnn, CnnConfig  # noqa: E402
from tastemaker_jobs.testing.models import ModelContract, train_small  # noqa: E402
from tastemaker_jobs.testing.synthetic import synthetic_ratings  # noqa: E402


@pytest.fixture(scope="module")
def model():
    """Untrained."""
    return Cnn(CnnConfig(embedding_size=16, max_history=12, recent=3), item_count=30, seed=0)


def vectors(model, items):
    recent, mean = model._recent_and_mean(tf.constant([items], tf.int32))
    return model._vector(recent[0], mean[0], training=False).numpy()


class TestCnn(ModelContract):
    model_name = "cnn"

    def test_order_matters(self, exported):
        one, two, three = exported.vocabulary.item_ids[:3]
        _, scores = exported.recommend([[one, two, three]])
        _, other = exported.recommend([[three, two, one]])
        assert not np.allclose(scores, other)

    def test_learns_the_order_of_items(self):
        found, vocabulary = train_small("cnn", synthetic_ratings(seed=1), seed=7, epochs=30)
        hits = 0
        for place in range(29):
            history = tf.constant([vocabulary.encode([f"film-{place}"])])
            best = vocabulary.item_ids[int(np.argmax(found.score_items(history)[0]))]
            hits += best == f"film-{place + 1}"
        assert hits > 20


def test_an_item_changes_nothing_before_it(model):
    items = list(range(1, 13))
    changed = [*items[:7], 30, *items[8:]]
    before, after = vectors(model, items), vectors(model, changed)
    np.testing.assert_allclose(before[:7], after[:7], rtol=1e-5, atol=1e-6)
    for place in range(7, 12):
        assert not np.allclose(before[place], after[place], rtol=1e-3, atol=1e-6)


def test_served_scores_are_those_of_the_newest_position_in_training(model):
    items = list(range(3, 15))
    served = model.score_items(tf.constant([items])).numpy()[0]
    np.testing.assert_allclose(served, model.items.scores(vectors(model, items)[-1:]).numpy()[0], rtol=1e-5)


def test_older_items_count_without_their_order(model):
    """The filters see the newest three; the mean has the others."""
    base, swapped, replaced = (
        model.score_items(tf.constant([[*older, 7, 8, 9]])) for older in ([1, 2], [2, 1], [1, 3])
    )
    np.testing.assert_allclose(base, swapped, rtol=1e-5, atol=1e-6)
    assert not np.allclose(base, replaced, rtol=1e-3)


def test_padding_is_not_in_the_mean(model):
    items = [0, 0, 0, 0, 0, 0, 0, 5, 6, 7, 8, 9]
    before = vectors(model, items)[7:]
    model.items.embeddings[0].assign(tf.ones_like(model.items.embeddings[0]))
    np.testing.assert_allclose(vectors(model, items)[7:], before, rtol=1e-5, atol=1e-6)
    assert not np.allclose(before[0], before[1])
