"""What is particular to the autoencoder: its losses, its code, its linear part."""

import dataclasses

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
tf = pytest.importorskip("tensorflow")

from tastemaker_jobs.errors import ConfigError  # noqa: E402
from tastemaker_jobs.models.autoencoder import Autoencoder, AutoencoderConfig  # noqa: E402
from tastemaker_jobs.models.signatures import export_saved_model  # noqa: E402
from tastemaker_jobs.testing.models import training_data  # noqa: E402
from tastemaker_jobs.training.validation import Validation  # noqa: E402

VARIANTS = {
    "denoising": {},
    "variational": {"variational": True},
    "middle and batch norm": {"middle_size": 12, "batch_norm": True},
    "variational with all": {"variational": True, "middle_size": 12, "batch_norm": True},
    "squared": {"loss": "squared"},
}


def two_tastes(*, users=60, seed=0):
    """Half of the users have items of 1 to 10, the other half of 11 to 20; each eight of them."""
    rng = np.random.default_rng(seed)
    return training_data(
        [1 + 10 * (user % 2) + rng.choice(10, 8, replace=False) for user in range(users)], item_count=20
    )


def learnt(data, *, seed=0, epochs=6, **settings):
    config = AutoencoderConfig(epochs=epochs, hidden_size=8, batch_size=16, **settings)
    model = Autoencoder.for_data(config, data, seed=seed)
    model.learn(data, validation=Validation(data.vocabulary, {}, {}), seed=seed, report=lambda _: None)
    return model


def scores(model, *histories):
    return model.score_items(tf.constant(histories, tf.int32)).numpy()


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_each_variant_serves_without_chance_and_one_seed_gives_one_model(settings, tmp_path):
    data = two_tastes()
    model, again = learnt(data, seed=3, **settings), learnt(data, seed=3, **settings)
    history = [[1, 2, 3, 4], [0, 0, 11, 12]]
    np.testing.assert_array_equal(scores(model, *history), scores(model, *history))
    np.testing.assert_array_equal(scores(model, *history), scores(again, *history))
    assert not np.array_equal(scores(model, *history), scores(learnt(data, seed=4, **settings), *history))
    export_saved_model(model, data.vocabulary.item_ids, tmp_path / "1")
    served = tf.saved_model.load(str(tmp_path / "1")).signatures["score"](
        history=tf.constant([["1", "2", "3", "4"]]), candidate=tf.constant([list(data.vocabulary.item_ids)])
    )
    np.testing.assert_allclose(served["score"].numpy(), scores(model, history[0]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"variational": True}, {"middle_size": 12, "batch_norm": True}])
def test_users_of_one_taste_are_shown_it(settings):
    model = learnt(two_tastes(), epochs=80, learning_rate=1e-2, linear_weight=0.0, **settings)
    best = np.argsort(-scores(model, [1, 2, 3, 4], [11, 12, 13, 14]), axis=1)[:, :10]
    assert set(best[0]) == set(range(10))
    assert set(best[1]) == set(range(10, 20))


def test_code_has_its_size_and_ignores_padding_and_order(tmp_path):
    data = two_tastes()
    model = learnt(data, variational=True)
    export_saved_model(model, data.vocabulary.item_ids, tmp_path / "1")
    encode = tf.saved_model.load(str(tmp_path / "1")).signatures["encode"]
    rows = [["1", "5", "9"], ["", "", "9", "unknown", "1", "5", "5"], ["", ""], ["12", "2"]]
    longest = max(map(len, rows))
    padded = tf.constant([[""] * (longest - len(row)) + row for row in rows])
    found = encode(history=padded)["user_vector"].numpy()
    assert found.shape == (4, 8)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)
    assert np.abs(found[0] - found[3]).max() > 1e-3
    assert np.isfinite(found).all()


def test_divergence_is_annealed_up_to_its_cap():
    data = two_tastes(users=64)
    config = AutoencoderConfig(variational=True, kl_cap=0.4, kl_annealing_epochs=4)
    model = Autoencoder(config, item_count=20, seed=0)
    model.examples(data, np.random.default_rng(0))
    found = [float(model._kl_weight(tf.constant(32))) for _ in range(12)]
    np.testing.assert_allclose(found, [min(0.4, 0.05 * step) for step in range(12)], rtol=1e-5)


def test_divergence_draws_codes_together():
    data = two_tastes()
    free, held = (
        learnt(data, epochs=60, variational=True, kl_annealing_epochs=1, kl_cap=cap, learning_rate=1e-2)
        for cap in (0.0, 5.0)
    )
    history = tf.constant([[1, 2, 3], [11, 12, 13]])
    assert np.linalg.norm(held.user_vectors(history)) < 0.5 * np.linalg.norm(free.user_vectors(history))


def test_squared_loss_predicts_ratings_better_than_their_mean():
    """Of users whose taste shows in which items they have: each half rates one item high that the other rates low."""
    data, rng = two_tastes(users=200), np.random.default_rng(1)
    histories = tuple(np.append(history, [21, 22]).astype(np.int32) for history in data.histories)
    ratings = tuple(
        np.append(rng.normal(3, 0.3, 8), [5, 1] if user % 2 else [1, 5]).astype(np.float32)
        for user, _ in enumerate(histories)
    )
    whole = dataclasses.replace(
        training_data(histories, item_count=22), ratings=ratings, weights=tuple(np.ones_like(row) for row in ratings)
    )
    seen = dataclasses.replace(whole, histories=histories[:150], ratings=ratings[:150], weights=whole.weights[:150])
    model = learnt(seen, epochs=150, loss="squared", learning_rate=1e-2)
    predicted = scores(model, *[history[:8] for history in histories[150:]])[:, 20:]
    truth = np.array([row[-2:] for row in ratings[150:]])
    everything = np.concatenate(ratings[:150])
    assert np.mean((predicted - truth) ** 2) < 0.3 * np.mean((everything.mean() - truth) ** 2)
    assert float(model.rating_mean) == pytest.approx(everything.mean(), abs=1e-5)
    assert float(model.rating_spread) == pytest.approx(everything.std(), abs=1e-5)


@pytest.mark.parametrize("loss", ["multinomial", "squared"])
def test_weights_weigh_the_targets(loss):
    """An event of weight 0 adds nothing to the loss, one of double weight twice its part."""
    data = training_data([[1, 2, 3]], item_count=4)
    model = Autoencoder(AutoencoderConfig(loss=loss, input_dropout=0.0), item_count=4, seed=0)
    model.examples(data, np.random.default_rng(0))

    def loss_of(*weights):
        batch = {"items": [[1, 2, 3]], "weights": [weights], "ratings": [[1.0, 2.0, 5.0]]}
        kernels = (model.encoder.kernel, model.decoder.kernel)
        decay = model.config.weight_decay * sum(float(tf.nn.l2_loss(kernel)) for kernel in kernels)
        return float(model.training_loss({name: tf.constant(value) for name, value in batch.items()})) - decay

    parts = [loss_of(1.0, 0.0, 0.0), loss_of(0.0, 1.0, 0.0), loss_of(0.0, 0.0, 1.0)]
    assert loss_of(0.0, 0.0, 0.0) == pytest.approx(0, abs=1e-6)
    assert loss_of(1.0, 2.0, 0.0) == pytest.approx(parts[0] + 2 * parts[1], rel=1e-4)
    assert loss_of(1.0, 1.0, 1.0) == pytest.approx(sum(parts), rel=1e-4)


def test_of_repeated_events_the_weightiest_counts():
    data = dataclasses.replace(
        training_data([[2, 1, 2, 3, 3]], item_count=3),
        weights=(np.array([5, 1, 1, 2, 2], np.float32),),
        ratings=(np.array([1, 2, 3, 4, 5], np.float32),),
    )
    found = Autoencoder(AutoencoderConfig(), item_count=3, seed=0).examples(data, np.random.default_rng(0))
    assert {name: rows.tolist() for name, rows in found.items()} == {
        "items": [[1, 2, 3]],
        "weights": [[1, 5, 2]],
        "ratings": [[2, 1, 5]],
    }


def test_large_catalogue_does_without_the_linear_part():
    data = two_tastes()
    assert learnt(data, epochs=1, linear_max_items=19).linear is None
    assert learnt(data, epochs=1, linear_weight=0.0).linear is None
    assert learnt(data, epochs=1).linear.shape == (20, 20)


def test_settings_out_of_range_are_named():
    with pytest.raises(ConfigError, match=r"loss is 'cubic', middle_size is -1, kl_cap is -0.1"):
        AutoencoderConfig(loss="cubic", middle_size=-1, kl_cap=-0.1)
