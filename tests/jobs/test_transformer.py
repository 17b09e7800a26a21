"""The transformer: the contract of every model, and what is its own."""

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
tf = pytest.importorskip("tensorflow")

from tastemaker_jobs.errors import ConfigError  # noqa: E402
from tastemaker_jobs.models.transformer import Transformer, TransformerConfig  # noqa: E402
from tastemaker_jobs.testing.models import ModelContract, train_small  # noqa: E402
from tastemaker_jobs.testing.synthetic import synthetic_ratings  # noqa: E402


@pytest.fixture(scope="module")
def model():
    """Untrained, with distances that matter from the start."""
    made = Transformer(TransformerConfig(embedding_size=16, max_history=12), item_count=30, seed=0)
    for block in made.blocks:
        block.distance_bias.assign(np.random.default_rng(0).normal(size=block.distance_bias.shape))
    return made


def states(model, items):
    return model._states(tf.constant([items], tf.int32), training=False).numpy()[0]


class TestTransformer(ModelContract):
    model_name = "transformer"

    def test_order_matters(self, exported):
        one, two, three = exported.vocabulary.item_ids[:3]
        _, scores = exported.recommend([[one, two, three]])
        _, other = exported.recommend([[two, one, three]])
        assert not np.allclose(scores, other)

    def test_learns_the_order_of_items(self):
        found, vocabulary = train_small("transformer", synthetic_ratings(seed=1), seed=7, epochs=60)
        hits = 0
        for place in range(29):
            seen = vocabulary.encode([f"film-{place}"])
            scores = found.score_items(tf.constant([seen])).numpy()[0]
            scores[seen - 1] = -np.inf  # seen items did not compete in training, so their scores mean nothing
            hits += vocabulary.item_ids[int(np.argmax(scores))] == f"film-{place + 1}"
        assert hits > 20


def test_an_item_changes_nothing_before_it(model):
    items = list(range(1, 13))
    changed = [*items[:7], 30, *items[8:]]
    before, after = states(model, items), states(model, changed)
    np.testing.assert_allclose(before[:7], after[:7], rtol=1e-5, atol=1e-6)
    for place in range(7, 12):
        assert not np.allclose(before[place], after[place], rtol=1e-3)


def test_served_scores_are_those_of_the_newest_position_in_training(model):
    items = list(range(3, 15))
    served = model.score_items(tf.constant([items])).numpy()[0]
    np.testing.assert_allclose(served, model.items.scores(states(model, items)[-1:]).numpy()[0], rtol=1e-5)


def test_positions_count_from_the_item_that_looks_back(model):
    """So that a position in the middle of a training window learns what the newest item will be asked."""
    long = states(model, [0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7])
    short = states(model, [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4])
    np.testing.assert_allclose(long[8], short[11], rtol=1e-4, atol=1e-5)


def test_padding_is_not_looked_at(model):
    items = [0, 0, 0, 0, 0, 0, 0, 5, 6, 7, 8, 9]
    before = states(model, items)[7:]
    model.items.embeddings[0].assign(tf.ones_like(model.items.embeddings[0]))
    np.testing.assert_allclose(states(model, items)[7:], before, rtol=1e-5, atol=1e-6)


def test_heads_must_divide_the_embedding():
    with pytest.raises(ConfigError, match="embedding_size is 10, which 4 heads do not divide"):
        TransformerConfig(embedding_size=10, heads=4)
