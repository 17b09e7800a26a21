"""Every model against the contract of the signatures, and what is particular to each."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
tf = pytest.importorskip("tensorflow")

from tastemaker_jobs.errors import ConfigError, UnknownModelError  # noqa: E402
from tastemaker_jobs.models import RECOMMENDERS, model_class  # noqa: E402
from tastemaker_jobs.models.histories import newest_items  # noqa: E402
from tastemaker_jobs.models.rnn import Rnn, RnnConfig  # noqa: E402
from tastemaker_jobs.testing.models import ModelContract, train_small, training_data  # noqa: E402
from tastemaker_jobs.testing.synthetic import synthetic_ratings  # noqa: E402
from tastemaker_jobs.training.validation import Validation  # noqa: E402


class TestAutoencoder(ModelContract):
    model_name = "autoencoder"

    def test_order_and_repetition_do_not_matter(self, exported):
        one, two, three = exported.vocabulary.item_ids[:3]
        _, scores = exported.recommend([[one, two, three]])
        _, other = exported.recommend([[three, one, one, two]])
        np.testing.assert_allclose(scores, other, rtol=1e-5, atol=1e-6)


class TestContent(ModelContract):
    model_name = "content"

    def test_untouched_items_are_recommended(self, exported):
        items, scores = exported.recommend([["film-1", "film-2"]], k=len(exported.vocabulary))
        place = list(items[0]).index("new-0")
        assert np.isfinite(scores[0, place])

    def test_embedding_of_an_items_features_is_its_own_vector(self, exported, features):
        known = features.in_order(exported.vocabulary.item_ids)
        found = embedded(exported, known)
        np.testing.assert_allclose(found, exported.model.item_vectors(), rtol=1e-4, atol=1e-5)

    def test_missing_or_broken_parts_are_no_error(self, exported):
        answer = exported.loaded.signatures["embed_items"](
            image=tf.constant([b"", b"no image", b""]),
            title=tf.constant(["", "Film", ""]),
            attributes=tf.constant([[""], [""], ["group=1"]]),
        )["embedding"]
        assert np.isfinite(answer).all()
        without = exported.loaded.signatures["embed_items"](
            image=tf.constant([b""]), title=tf.constant([""]), attributes=tf.zeros([1, 0], tf.string)
        )["embedding"]
        np.testing.assert_allclose(without[0], answer[0], rtol=1e-5, atol=1e-6)

    def test_user_vector_times_embedding_is_the_score(self, exported, features):
        history = tf.constant([["film-3", "film-4"]])
        user = exported.loaded.signatures["encode"](history=history)["user_vector"]
        vectors = embedded(exported, features.in_order(exported.vocabulary.item_ids))
        scores = exported.model.score_items(tf.constant([exported.vocabulary.encode(["film-3", "film-4"])]))
        np.testing.assert_allclose(user.numpy() @ vectors.T, scores, rtol=1e-3, atol=1e-4)

    def test_item_added_later_lands_near_its_peers(self, exported, features):
        """One with the image, attributes and part of the title that a group of items has."""
        place = {item: row for row, item in enumerate(features.item_ids)}
        like, unlike = place["film-2"], place["film-25"]
        new = dataclasses.replace(
            features.in_order(["film-2"]), titles=("Brand new",), item_ids=("later",)
        )  # known to nobody
        vectors = embedded(exported, features)
        vector = embedded(exported, new)[0]
        cosine = vectors @ vector / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vector)
        assert cosine[like] > 0.8
        assert cosine[like] > cosine[unlike]

    def test_competing_in_the_batch_alone_learns_too(self, features):
        """The way of large catalogues: log Q corrected softmax among the items of the batch."""
        from tastemaker_jobs.models.content import Content, ContentConfig

        histories = [[1, 2, 3], [2, 3, 1], [3, 1, 2]] * 4
        data = dataclasses.replace(
            training_data(histories, item_count=30), features=features.in_order([f"film-{n}" for n in range(30)])
        )
        model = Content.for_data(ContentConfig(full_softmax_items=1, epochs=3), data, seed=1)
        model.learn(data, validation=Validation(data.vocabulary, {}, {}), seed=1, report=lambda _: None)
        assert np.isfinite(model.score_items(tf.constant([[1, 2]]))).all()

    def test_encoder_that_is_not_there_is_named(self):
        from tastemaker_jobs.models.content import Content, ContentConfig

        with pytest.raises(ConfigError, match="image_encoder: nowhere"):
            Content(ContentConfig(image_encoder="nowhere"), item_count=3, seed=0)


def embedded(exported, features):
    """What the signature `embed_items` makes of features, [I, D]."""
    most = max(map(len, features.attributes), default=0)
    return exported.loaded.signatures["embed_items"](
        image=tf.constant([path.read_bytes() if path else b"" for path in features.images]),
        title=tf.constant(list(features.titles)),
        attributes=tf.constant([[*found, *[""] * (most - len(found))] for found in features.attributes]),
    )["embedding"].numpy()


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
    tested = {kind.model_name for kind in ModelContract.__subclasses__()}
    assert tested == set(RECOMMENDERS)


def test_unknown_model_lists_the_known():
    with pytest.raises(UnknownModelError, match=r"'cnn'.* autoencoder, .*rnn"):
        model_class("cnn")


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
