"""The blend of models."""

import numpy as np
import pytest

pytestmark = pytest.mark.slow
tf = pytest.importorskip("tensorflow")

from tastemaker_jobs.data.vocabulary import Vocabulary  # noqa: E402  after the check that it can be
from tastemaker_jobs.errors import ConfigError  # noqa: E402
from tastemaker_jobs.models.blending import BlendProblem, learn_weights  # noqa: E402
from tastemaker_jobs.models.hybrid import HybridConfig  # noqa: E402
from tastemaker_jobs.testing.models import ModelContract, train_small  # noqa: E402
from tastemaker_jobs.testing.synthetic import synthetic_ratings  # noqa: E402
from tastemaker_jobs.training.validation import Validation  # noqa: E402

SMALL = {"parts": ["rnn", "autoencoder"], "part_settings": {"rnn": {"epochs": 2}, "autoencoder": {"epochs": 2}}}


class TestHybrid(ModelContract):
    model_name = "hybrid"
    settings = SMALL


def problem(*, right: int) -> BlendProblem:
    """Questions of three segments; in the last one the part that is right is the other one."""
    rng = np.random.default_rng(0)
    segment = np.repeat(np.arange(3, dtype=np.int32), 100)
    scores = rng.normal(size=(300, 20, 2)).astype(np.float32)
    scores[:200, 0, right] += 3
    scores[200:, 0, 1 - right] += 3
    return BlendProblem(scores, np.ones((300, 20), np.bool_), segment, np.ones(2, np.float32))


@pytest.mark.parametrize("right", [0, 1])
def test_each_segment_believes_the_part_that_is_right_there(right):
    weights, _ = learn_weights(problem(right=right), shrinkage=1e-3)
    assert (weights >= 0).all()
    for segment, believed in enumerate((right, right, 1 - right)):
        assert weights[segment, believed] > 3 * weights[segment, 1 - believed]


def test_shrinkage_makes_segments_alike():
    loose, tight = (learn_weights(problem(right=0), shrinkage=shrinkage)[0] for shrinkage in (1e-3, 100.0))
    assert np.ptp(tight, axis=0).max() < 0.1 * np.ptp(loose, axis=0).max()


def test_padding_is_no_candidate():
    one = problem(right=0)
    padded = np.concatenate([one.scores, np.full((300, 5, 2), 99, np.float32)], axis=1)
    is_candidate = np.arange(25) < np.full((300, 1), 20)
    other = BlendProblem(padded, is_candidate, one.segment, one.stand_in)
    np.testing.assert_allclose(learn_weights(one, shrinkage=1.0)[0], learn_weights(other, shrinkage=1.0)[0], rtol=1e-4)


def test_new_users_are_made_of_the_newest_events():
    items = [str(number) for number in range(30)]
    histories = {f"u{user}": items[user % 5 : 20 + user % 5] for user in range(40)}
    validation = Validation(Vocabulary.of(items), histories, dict.fromkeys(histories, "29"))

    def part_scores(history):
        asked.append(history.numpy())
        scores = np.zeros((len(history), 1, 30), np.float32)
        return tf.constant(scores), tf.ones([1, 30], tf.bool)

    asked: list[np.ndarray] = []
    found = BlendProblem.of(validation, part_scores, cold=5, heavy=21, seed=0)
    counts = (asked[1] > 0).sum(axis=1)
    assert set(counts) == {1, 2, 3, 4, 5}
    for whole, newest, count in zip(asked[0], asked[1], counts, strict=True):
        assert list(newest[newest > 0]) == list(whole[-count:])
    assert list(found.segment) == [1] * 40 + [0] * 40


def test_hybrid_gives_a_new_user_a_list_and_weighs_segments_of_its_own():
    model, _ = train_small("hybrid", synthetic_ratings(seed=1), seed=7, settings=SMALL)
    assert model.blend.shape == (3, 2)
    history = tf.constant([[0] * 30, [0] * 25 + [1, 2, 3, 4, 5], [0] * 24 + [1, 2, 3, 4, 5, 6], list(range(1, 31))])
    assert model._segment(history).numpy().tolist() == [0, 0, 1, 2]
    assert np.isfinite(model.score_items(history).numpy()).all()


def test_what_a_part_says_of_items_of_the_history_does_not_move_its_scale():
    """Sequence models never learn to score those, unless items repeat."""
    model, _ = train_small("hybrid", synthetic_ratings(seed=1), seed=7, settings=SMALL)
    history = tf.constant([[0, 0, 4, 9], [3, 3, 1, 2]])
    seen = np.zeros((2, 1, model.item_count), bool)
    for row, items in enumerate(history.numpy()):
        seen[row, 0, items[items > 0] - 1] = True
    scores, _ = model.part_scores(history)
    new = np.ma.masked_array(scores.numpy(), np.broadcast_to(seen, scores.shape))
    np.testing.assert_allclose(new.mean(axis=2), 0, atol=1e-4)
    np.testing.assert_allclose(new.std(axis=2), 1, rtol=1e-3)
    part = model.parts[0]
    honest = part.score_items
    part.score_items = lambda history: tf.where(model._is_new(history) > 0, honest(history), 1e3)
    np.testing.assert_allclose(
        np.where(seen, 0, model.part_scores(history)[0].numpy()),
        np.where(seen, 0, scores.numpy()),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"parts": []}, "parts is"),
        ({"parts": ["rnn", "rnn"]}, "parts is"),
        ({"parts": ["hybrid"]}, "parts is"),
        ({"parts": ["rnn"], "part_settings": {"cnn": {}}}, "part_settings has cnn"),
        ({"parts": ["rnn"], "part_settings": {"rnn": {"epoch": 1}}}, "no setting 'epoch'"),
    ],
)
def test_parts_that_cannot_be_are_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        train_small("hybrid", synthetic_ratings(seed=1), seed=7, settings=settings)


def test_settings_are_checked_by_name():
    assert HybridConfig().cold_user_events == 5
    with pytest.raises(ConfigError, match="shrinkage is"):
        HybridConfig(shrinkage=0.0)
