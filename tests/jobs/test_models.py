"""Every model against the contract of the signatures, and what is particular to each."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
tf = pytest.importorskip("tensorflow")

from tastemaker_jobs.errors import ConfigError, UnknownModelError  # noqa: E402
from tastemaker_jobs.models import MODEL_NAMES, model_class  # noqa: E402
from tastemaker_jobs.models.histories import newest_items  # noqa: E402
from tastemaker_jobs.models.rnn import Rnn, RnnConfig  # noqa: E402
from tastemaker_jobs.testing.models import ModelContract, train_small, training_data  # noqa: E402
from tastemaker_jobs.testing.synthetic import synthetic_ratings  # noqa: E402


class TestAutoencoder(ModelContract):
    model_name = "autoencoder"

    def test_order_and_repetition_do_not_matter(self, exported):
        one, two, three = exported.vocabulary.item_ids[:3]
        _, scores = exported.recommend([[one, two, three]])
        _, other = exported.recommend([[three, one, one, two]])
        np.testing.assert_allclose(scores, other, rtol=1e-5, atol=1e-6)


class TestRnn(ModelContract):
    model_name = "rnn"

    def test_order_matters(self, exported):
        one, two, three = exported.vocabulary.item_ids[:3]
        _, scores = exported.recommend([[one, two, three]])
        _, other = exported.recommend([[three, two, one]])
        assert not np.allclose(scores, other)

    def test_served_state_is_the_trained_layers(self, exported):
        """The fused cell that serves and the Keras layer that learns compute the same."""
        model, length = exported.model, exported.model.config.max_history
        items = np.random.default_rng(0).integers(1, len(exported.vocabulary) + 1, (4, length)).astype(np.int32)
        items[1, :20] = items[2, :-1] = items[3] = 0
        trained = model.gru(model.embedding(items), mask=tf.constant(items > 0))[:, -1]
        np.testing.assert_allclose(model._last_state(tf.constant(items))[:3], trained[:3], rtol=1e-4, atol=1e-5)

    def test_learns_the_order_of_items(self):
        model, vocabulary = train_small("rnn", synthetic_ratings(seed=1), seed=7, epochs=30)
        hits = 0
        for place in range(29):
            history = tf.constant([vocabulary.encode([f"film-{place}"])])
            best = vocabulary.item_ids[int(np.argmax(model.score_items(history)[0]))]
            hits += best == f"film-{place + 1}"
        assert hits > 20


def test_every_model_is_under_the_contract():
    files = Path(__file__).parent.glob("test_*.py")
    tested = [name for file in files for name in re.findall(r'^    model_name = "(\w+)"', file.read_text(), re.M)]
    assert sorted(tested) == list(MODEL_NAMES)


def test_unknown_model_lists_the_known():
    with pytest.raises(UnknownModelError, match=r"'lstm'.* autoencoder, .*rnn"):
        model_class("lstm")


def test_settings_out_of_range_are_all_named():
    with pytest.raises(ConfigError, match=r"epochs is 0, learning_rate is -1.0, dropout is 1.5"):
        RnnConfig(epochs=0, learning_rate=-1.0, dropout=1.5)


def test_newest_items_are_closed_up_to_the_right():
    history = tf.constant([[0, 5, 0, 6, 7, 0], [1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0]])
    assert newest_items(history, 4).numpy().tolist() == [[0, 5, 6, 7], [3, 4, 5, 6], [0, 0, 0, 0]]
    assert newest_items(history[:, :0], 2).numpy().tolist() == [[0, 0]] * 3


def test_rnn_windows_cover_every_next_item_once_or_more():
    model = Rnn(RnnConfig(max_history=4), item_count=100, seed=0)
    history = np.arange(1, 24, dtype=np.int32)
    data = training_data([history, history[:1], history[:3]], item_count=30)
    for seed in range(5):
        windows = model.examples(data, np.random.default_rng(seed))["items"]
        pairs = {(a, b) for row in windows for a, b in pairwise(row) if a and b}
        assert pairs == {(item, item + 1) for item in range(1, 23)}
        assert windows.shape[1] == 5
