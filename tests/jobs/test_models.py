"""Every model against the contract of the signatures, and what is particular to each."""

import re
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
tf = pytest.importorskip("tensorflow")

from tastemaker_jobs.errors import ConfigError, UnknownModelError  # noqa: E402
from tastemaker_jobs.models import RECOMMENDERS, model_class  # noqa: E402
from tastemaker_jobs.models.histories import newest_items  # noqa: E402
from tastemaker_jobs.models.rnn import RnnConfig  # noqa: E402
from tastemaker_jobs.testing.models import ModelContract  # noqa: E402


class TestAutoencoder(ModelContract):
    model_name = "autoencoder"

    def test_order_and_repetition_do_not_matter(self, exported):
        one, two, three = exported.vocabulary.item_ids[:3]
        _, scores = exported.recommend([[one, two, three]])
        _, other = exported.recommend([[three, one, one, two]])
        np.testing.assert_allclose(scores, other, rtol=1e-5, atol=1e-6)


def test_every_model_is_under_the_contract():
    """Some have a test file of their own, so this reads the files rather than what happens to be imported."""
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    tested = re.findall(r'^    model_name = "(\w+)"', text, re.MULTILINE)
    assert sorted(tested) == list(RECOMMENDERS)


def test_unknown_model_lists_the_known():
    with pytest.raises(UnknownModelError, match=r"'gru4rec'.* autoencoder, .*rnn"):
        model_class("gru4rec")


def test_settings_out_of_range_are_all_named():
    with pytest.raises(ConfigError, match=r"epochs is 0, learning_rate is -1.0, dropout is 1.5"):
        RnnConfig(epochs=0, learning_rate=-1.0, dropout=1.5)


def test_newest_items_are_closed_up_to_the_right():
    history = tf.constant([[0, 5, 0, 6, 7, 0], [1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0]])
    assert newest_items(history, 4).numpy().tolist() == [[0, 5, 6, 7], [3, 4, 5, 6], [0, 0, 0, 0]]
    assert newest_items(history[:, :0], 2).numpy().tolist() == [[0, 0]] * 3
