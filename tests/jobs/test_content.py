"""Two towers: items from what is known of them, users from the items of the history."""

import dataclasses

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
tf = pytest.importorskip("tensorflow")

from tastemaker_jobs.errors import ConfigError  # noqa: E402  after the check that it can be
from tastemaker_jobs.testing.models import ModelContract, training_data  # noqa: E402
from tastemaker_jobs.training.validation import Validation  # noqa: E402


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
