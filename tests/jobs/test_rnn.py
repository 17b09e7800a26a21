"""The GRU: the contract of every model, and what is its own."""

import dataclasses

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from tastemaker_jobs.models.fused_gru import all_states, last_state  # noqa: E402
from tastemaker_jobs.models.rnn import Rnn, RnnConfig  # noqa: E402
from tastemaker_jobs.testing.models import ModelContract, train_small, training_data  # noqa: E402
from tastemaker_jobs.testing.synthetic import synthetic_ratings  # noqa: E402
from tastemaker_jobs.training.validation import Validation  # noqa: E402


class TestRnn(ModelContract):
    model_name = "rnn"

    def test_order_matters(self, exported):
        one, two, three = exported.vocabulary.item_ids[:3]
        _, scores = exported.recommend([[one, two, three]])
        _, other = exported.recommend([[three, two, one]])
        assert not np.allclose(scores, other)

    def test_fused_states_and_gradients_are_those_of_the_keras_layer(self):
        layer = keras.layers.GRU(5, reset_after=False, return_sequences=True)
        layer.build((None, None, 3))
        rng = np.random.default_rng(0)
        for variable in layer.trainable_variables:  # biases of zero would hide one that is not added
            variable.assign(rng.normal(size=variable.shape) * 0.4)
        present = np.arange(7) >= np.array([0, 3, 6, 7])[:, np.newaxis]  # [4, 7], nothing at all in the last row
        inputs = tf.constant(rng.normal(size=(4, 7, 3)) * present[:, :, np.newaxis], tf.float32)
        weight = tf.constant(rng.normal(size=(4, 7, 5)) * present[:, :, np.newaxis], tf.float32)
        known = tf.constant(present)

        def by_layer() -> tf.Tensor:
            return layer(inputs, mask=known)

        def fused() -> tf.Tensor:
            return all_states(inputs, known, layer.cell.weights)

        found = {}
        for states in (by_layer, fused):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                value = states()
                loss = tf.reduce_sum(value * weight)
            found[states] = value, tape.gradient(loss, [inputs, *layer.trainable_variables])
        (expected, slopes), (value, gradients) = found[by_layer], found[fused]
        np.testing.assert_allclose(value[present], expected[present], rtol=1e-5, atol=1e-6)
        assert not np.any(value[~present])
        for gradient, slope in zip(gradients, slopes, strict=True):
            np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-5)
        last = last_state(inputs, known, layer.cell.weights)
        np.testing.assert_allclose(last, value[:, -1], rtol=1e-6, atol=1e-7)

    def test_learns_the_order_of_items(self):
        model, vocabulary = train_small("rnn", synthetic_ratings(seed=1), seed=7, epochs=30)
        hits = 0
        for place in range(29):
            history = tf.constant([vocabulary.encode([f"film-{place}"])])
            best = vocabulary.item_ids[int(np.argmax(model.score_items(history)[0]))]
            hits += best == f"film-{place + 1}"
        assert hits > 20

    def test_learns_the_order_of_items_from_a_few_negatives(self):
        """And one seed gives one model there too, drawn items and all."""
        walks = [[(start + step) % 30 + 1 for step in range(12)] for start in range(30)] * 2
        data = training_data(walks, item_count=30)
        config = RnnConfig(negatives=8, epochs=20, batch_size=8, embedding_size=32, hidden_size=32)
        models = [Rnn(config, item_count=30, seed=5) for _ in range(2)]
        for model in models:
            model.learn(data, validation=Validation(data.vocabulary, {}, {}), seed=5, report=lambda _: None)
        best = np.argmax(models[0].score_items(tf.constant([[item] for item in range(1, 30)])), axis=1)
        assert (best == np.arange(1, 30)).sum() > 20
        for left, right in zip(*(model.get_weights() for model in models), strict=True):
            np.testing.assert_array_equal(left, right)

    def test_new_user_gets_the_popular(self):
        """After enough steps the biases are the popularity, whatever the rest has learnt."""
        rng = np.random.default_rng(0)
        chance = np.arange(20, 0, -1) ** 2.0
        histories = [rng.choice(20, size=15, p=chance / chance.sum()) + 1 for _ in range(200)]
        data = training_data(histories, item_count=20)
        model = Rnn(dataclasses.replace(RnnConfig(), epochs=10), item_count=20, seed=0)
        model.learn(data, validation=Validation(data.vocabulary, {}, {}), seed=0, report=lambda _: None)
        count = np.bincount(np.concatenate(histories), minlength=21)[1:]
        scores = model.score_items(tf.zeros([1, 4], tf.int32)).numpy()[0]
        assert np.corrcoef(scores[:12], np.log(count[:12]))[0, 1] > 0.95
