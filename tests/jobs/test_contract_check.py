"""What `publish` finds in a SavedModel that breaks one promise of the contract, and in one that keeps all."""

import pytest

pytestmark = pytest.mark.slow
tf = pytest.importorskip("tensorflow")

from tastemaker_jobs.registry.contract_check import problems  # noqa: E402  # after the skip

ITEMS = [f"film-{number}" for number in range(8)]
INFINITE = float("inf")


class Listing(tf.Module):
    """Answers with the same eight items, best first, less those that are excluded; but for one breach."""

    def __init__(self, breach):
        super().__init__()
        self.breach = breach

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.string, "history"),
            tf.TensorSpec([None, None], tf.string, "exclude"),
            tf.TensorSpec(None, tf.int32, "k"),
        ]
    )
    def recommend(self, history, exclude, k):
        breach = self.breach
        items = tf.constant(ITEMS)  # [I]
        gone = {"exclude is ignored": tf.fill([1, 1], ""), "history in its place": history}.get(breach, exclude)
        keep = ~tf.reduce_any(gone[:, :, tf.newaxis] == items, axis=1)  # [B, I]
        scores = tf.where(keep, tf.range(8.0, 0.0, -1.0), -INFINITE)
        count = tf.minimum(tf.reshape(k, [-1])[0], len(ITEMS))
        score, place = tf.math.top_k(scores, count)  # [B, K]
        item = tf.where(score > -INFINITE, tf.gather(items, place), "")
        if breach == "no list":
            item = tf.fill(tf.shape(item), "")
            score = tf.fill(tf.shape(item), -INFINITE)
        if breach == "an item twice":
            item = tf.concat([item[:, :1], item[:, :-1]], axis=1)
        if breach == "rising":
            score = -score
        if breach == "not a number":
            score = score * float("nan")
        if breach == "padding with a score":
            score = tf.maximum(score, 0.0)
        return {"item_id": item, "score": score}


class Labelling(tf.Module):
    """Answers with the same labels and probabilities, whatever the image."""

    def __init__(self, labels, shares):
        super().__init__()
        self.labels, self.shares = labels, shares

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image")])
    def classify(self, image):
        size = tf.size(image)
        return {
            "label": tf.tile(tf.constant([self.labels]), [size, 1]),
            "probability": tf.tile(tf.constant([self.shares], tf.float32), [size, 1]),
        }


def found_in(module, name, folder):
    function = getattr(module, name)
    tf.saved_model.save(module, str(folder), signatures={name: function, "serving_default": function})
    return list(problems(str(folder)))


def test_a_model_that_keeps_the_contract_has_no_problems(tmp_path):
    assert found_in(Listing(None), "recommend", tmp_path / "listing") == []
    assert found_in(Labelling(["a", "b"], [0.75, 0.25]), "classify", tmp_path / "labelling") == []


@pytest.mark.parametrize(
    ("breach", "says"),
    [
        ("exclude is ignored", "recommend: excluded items come back: film-4, film-5, film-6, film-7"),
        ("history in its place", "recommend: excluded items come back: film-5, film-7"),
        ("no list", "recommend: a user without history gets no list"),
        ("an item twice", "recommend: an item stands twice in one list"),
        ("rising", "recommend: scores do not fall along the list: [-8.0, -7.0"),
        ("not a number", "recommend: scores do not fall along the list: [nan"),
        ("padding with a score", 'recommend: where there is no item, "", the score is not -inf'),
    ],
)
def test_a_broken_promise_of_a_recommender_is_named(breach, says, tmp_path):
    found = found_in(Listing(breach), "recommend", tmp_path)
    assert found
    assert all(line.startswith(says.partition(":")[0]) for line in found)
    assert any(line.startswith(says) for line in found), found


@pytest.mark.parametrize(
    ("labels", "shares", "says"),
    [
        (["a"], [1.0], "classify: labels are not two or more different ones: [b'a']"),
        (["a", "b", "a"], [0.5, 0.25, 0.25], "classify: labels are not two or more different ones"),
        (["a", "b"], [0.25, 0.75], "classify: probabilities do not fall along the row and sum to 1: [0.25, 0.75]"),
        (["a", "b"], [0.75, 0.5], "classify: probabilities do not fall along the row and sum to 1: [0.75, 0.5]"),
        (["a", "b"], [float("nan")] * 2, "classify: probabilities do not fall along the row and sum to 1: [nan, nan]"),
    ],
)
def test_a_broken_promise_of_a_classifier_is_named(labels, shares, says, tmp_path):
    found = found_in(Labelling(labels, shares), "classify", tmp_path)
    assert len(found) == 2, "for each of the two images"
    assert all(line.startswith(says) for line in found), found
