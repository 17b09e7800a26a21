"""Events as models want them: thresholds and weights."""

import dataclasses

import numpy as np
import pytest

from tastemaker_jobs.data.ratings import Ratings
from tastemaker_jobs.data.vocabulary import Vocabulary
from tastemaker_jobs.errors import ConfigError

pytestmark = pytest.mark.slow
pytest.importorskip("tensorflow")

from tastemaker_jobs.models.recommender import ModelConfig  # noqa: E402  after the check that it can be
from tastemaker_jobs.models.training_data import TrainingData  # noqa: E402

EVENTS = Ratings(
    np.array(["u", "v", "u", "u"], object),
    np.array(["a", "a", "b", "c"], object),
    np.array([5, 1, 3, 4], np.float32),
    np.array([1, 2, 3, 4]),
    np.array(["view", "buy", "view", "buy"], object),
)
ITEMS = Vocabulary.of(EVENTS.item_id)


def data(**settings) -> TrainingData:
    return TrainingData.of(EVENTS, ITEMS, config=ModelConfig(**settings))


def test_by_default_every_event_counts_the_same():
    found = data()
    assert [list(history) for history in found.histories] == [[1, 2, 3], [1]]
    assert [list(weights) for weights in found.weights] == [[1, 1, 1], [1]]
    assert [list(times) for times in found.timestamps] == [[1, 3, 4], [2]]


def test_events_rated_too_low_are_not_learnt_from_and_their_items_stay_known():
    found = data(min_rating=3.0)
    assert [list(ratings) for ratings in found.ratings] == [[5, 3, 4]]
    assert found.item_count == 3


def test_weights_follow_type_and_rating_and_average_one():
    found = data(event_weights={"view": 1.0, "buy": 3.0}, weigh_by_rating=True)
    raw = np.array([5, 3, 12, 3])
    np.testing.assert_allclose(np.concatenate(found.weights), raw / raw.mean(), rtol=1e-6)


def test_events_of_weight_nought_are_left_out():
    assert [list(history) for history in data(event_weights={"view": 0.0, "buy": 2.0}).histories] == [[1], [3]]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"event_weights": {"view": 1.0}}, "no weight for 'buy'"),
        ({"min_rating": 6.0}, "of 4 training events none is left"),
        ({"event_weights": {"view": 0.0, "buy": 0.0}}, "none is left"),
    ],
)
def test_settings_that_leave_nothing_or_do_not_fit_are_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        data(**settings)


def test_negative_ratings_cannot_be_weights():
    events = dataclasses.replace(EVENTS, rating=-EVENTS.rating)
    with pytest.raises(ConfigError, match="weigh_by_rating needs ratings of 0"):
        TrainingData.of(events, ITEMS, config=ModelConfig(weigh_by_rating=True))


def test_negative_weights_are_refused():
    with pytest.raises(ConfigError, match="event_weights is"):
        ModelConfig(event_weights={"view": -1.0})
