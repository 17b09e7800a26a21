"""The models in closed form: under the contract, and each against a computation of its own."""

import dataclasses

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
tf = pytest.importorskip("tensorflow")

from tastemaker_jobs.data.ratings import Ratings  # noqa: E402
from tastemaker_jobs.data.splits import leave_last_out  # noqa: E402
from tastemaker_jobs.data.vocabulary import Vocabulary  # noqa: E402
from tastemaker_jobs.errors import ConfigError  # noqa: E402
from tastemaker_jobs.evaluation.baselines import BASELINES, baseline_lists  # noqa: E402
from tastemaker_jobs.evaluation.protocol import test_questions as questions_of  # noqa: E402
from tastemaker_jobs.evaluation.served import SavedModel  # noqa: E402
from tastemaker_jobs.models import interactions, model_class  # noqa: E402
from tastemaker_jobs.models.signatures import export_saved_model  # noqa: E402
from tastemaker_jobs.models.training_data import TrainingData  # noqa: E402
from tastemaker_jobs.testing.models import ModelContract, training_data  # noqa: E402
from tastemaker_jobs.testing.synthetic import synthetic_ratings  # noqa: E402
from tastemaker_jobs.training.validation import Validation  # noqa: E402

DAY = 86_400
HISTORIES = [[1, 2, 3], [2, 3], [3, 4, 1], [4, 2], [5, 3, 2, 1], [1, 5]]


def learnt(name, data, *, seed=0, **settings):
    kind = model_class(name)
    model = kind.for_data(kind.config_class(**settings), data, seed=seed)
    model.learn(data, validation=Validation(data.vocabulary, {}, {}), seed=seed, report=lambda _: None)
    return model


def scores(model, *histories):
    return model.score_items(tf.constant(histories, tf.int32)).numpy()


def weighed(data, weights):
    return dataclasses.replace(data, weights=tuple(np.array(of_user, np.float32) for of_user in weights))


def events(*rows):
    """Of (user, item, event type), one second apart."""
    users, items, types = (np.array(column, dtype=object) for column in zip(*rows, strict=True))
    count = len(rows)
    return Ratings(users, items, np.arange(1, count + 1, dtype=np.float32), np.arange(count), types)


class OrderDoesNotMatter(ModelContract):
    has_randomness = False

    def test_order_and_repetition_do_not_matter(self, exported):
        one, two, three = exported.vocabulary.item_ids[:3]
        _, first = exported.recommend([[one, two, three]])
        _, other = exported.recommend([[three, one, one, two]])
        np.testing.assert_allclose(first, other, rtol=1e-5, atol=1e-6)


class TestPopularity(OrderDoesNotMatter):
    model_name = "popularity"

    def test_explains_nothing(self, exported):
        assert "explain" not in exported.loaded.signatures

    def test_similar_is_what_is_popular(self, exported):
        ids = exported.vocabulary.item_ids
        assert list(exported.similar([ids[2]], k=3)[0]) == [ids[0], ids[1], ids[3]]


class TestItemKnn(OrderDoesNotMatter):
    model_name = "item_knn"

    def test_explanations_add_up_to_the_score(self, exported):
        check_explanations_add_up(exported)


class TestEase(OrderDoesNotMatter):
    model_name = "ease"

    def test_explanations_add_up_to_the_score(self, exported):
        check_explanations_add_up(exported)

    def test_explanation_is_the_weight_between_the_two(self, exported):
        ids = exported.vocabulary.item_ids
        answer = exported.loaded.signatures["explain"](
            history=tf.constant([["", *ids[:4]]]), item_id=tf.constant([ids[6]])
        )
        weights = exported.model.item_weights.numpy()[:4, 6]
        assert weights.max() > 0
        assert answer["item_id"].numpy()[0].decode() == ids[int(weights.argmax())]
        assert answer["weight"].numpy()[0] == pytest.approx(weights.max())


class TestAls(OrderDoesNotMatter):
    model_name = "als"
    has_randomness = True

    def test_explanations_add_up_to_the_score(self, exported):
        check_explanations_add_up(exported)


def check_explanations_add_up(exported):
    history = tf.constant([[0, 3, 1, 7, 0], [2, 5, 9, 11, 4]])
    item = tf.constant([10, 6])
    added = exported.model.contributions(history, item).numpy()
    of_item = tf.gather(exported.model.score_items(history), item - 1, batch_dims=1).numpy()
    np.testing.assert_allclose(added.sum(axis=1), of_item, rtol=1e-4, atol=1e-6)
    assert not added[history.numpy() == 0].any()


def test_popularity_counts_half_after_each_half_life():
    data = training_data([[1, 2], [1], [3]], item_count=3)
    times = tuple(np.array(days) * DAY for days in ([0, 10], [20], [20]))
    data = dataclasses.replace(data, timestamps=times)
    decayed = learnt("popularity", data, half_life_days=10.0)
    np.testing.assert_allclose(scores(decayed, [0]), [[1.25, 0.5, 1.0]])
    for plain in (0.0, float("inf")):
        np.testing.assert_allclose(scores(learnt("popularity", data, half_life_days=plain), [2]), [[2, 1, 1]])


def test_item_knn_is_the_shrunk_cosine_of_the_nearest():
    data = training_data(HISTORIES, item_count=5)
    users = np.zeros((len(HISTORIES), 5))
    for row, history in zip(users, HISTORIES, strict=True):
        row[np.array(history) - 1] = 1 / np.sqrt(len(history))
    users *= np.sqrt(np.mean([len(history) for history in HISTORIES]))
    expected = np.zeros((5, 5))
    for one in range(5):
        for other in set(range(5)) - {one}:
            both = (users[:, one] * users[:, other]).sum()
            lengths = np.linalg.norm(users[:, one]) * np.linalg.norm(users[:, other])
            expected[one, other] = both / (lengths + 2)
    whole = learnt("item_knn", data, neighbours=5, shrinkage=2.0)
    np.testing.assert_allclose(scores(whole, *[[item] for item in range(1, 6)]), expected, rtol=1e-6)
    np.testing.assert_allclose(scores(whole, [1, 4])[0], expected[0] + expected[3], rtol=1e-6)
    nearest = scores(learnt("item_knn", data, neighbours=2, shrinkage=2.0), *[[item] for item in range(1, 6)])
    for row, found in zip(expected, nearest, strict=True):
        assert (found > 0).sum() <= 2
        np.testing.assert_allclose(np.sort(found)[-2:], np.sort(row)[-2:], rtol=1e-6)


def test_item_knn_in_several_pieces_is_the_same(monkeypatch):
    data = training_data(HISTORIES, item_count=5)
    whole = learnt("item_knn", data).get_weights()
    monkeypatch.setattr("tastemaker_jobs.models.item_knn._ITEMS_AT_ONCE", 2)
    for left, right in zip(whole, learnt("item_knn", data).get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_ease_minimises_the_papers_objective():
    """Column by column: ridge regression of an item on all the others has the same weights."""
    data = training_data(HISTORIES, item_count=5)
    users = interactions.user_item_matrix(data, add_repeats=False).toarray()
    weights = learnt("ease", data, l2=3.0).item_weights.numpy()
    assert not np.diag(weights).any()
    for item in range(5):
        others = np.delete(users, item, axis=1)
        ridge = np.linalg.solve(others.T @ others + 3.0 * np.eye(4), others.T @ users[:, item])
        np.testing.assert_allclose(np.delete(weights[:, item], item), ridge, rtol=1e-5)


def test_ease_refuses_a_catalogue_that_is_too_large():
    with pytest.raises(ConfigError, match=r"11 items are more than max_items, 10.*item_knn"):
        learnt("ease", training_data([[1, 2]], item_count=11), max_items=10)


@pytest.mark.parametrize("confidence", [2.0, 10.0])
def test_als_folds_in_users_as_implicit_does(confidence, monkeypatch):
    from implicit.cpu import als

    solvers = []

    class Remembered(als.AlternatingLeastSquares):
        def __init__(self, **settings):
            super().__init__(**settings)
            solvers.append(self)

    monkeypatch.setattr(als, "AlternatingLeastSquares", Remembered)
    data = training_data(HISTORIES, item_count=5)
    model = learnt("als", data, factors=3, confidence=confidence)
    matrix = interactions.user_item_matrix(data, add_repeats=True).astype(np.float32)
    folded = solvers[0].recalculate_user(np.arange(len(HISTORIES)), matrix)
    for history, user in zip(HISTORIES, folded, strict=True):
        np.testing.assert_allclose(scores(model, history)[0], user @ model.item_vectors().numpy().T, atol=1e-4)


@pytest.mark.parametrize("name", BASELINES)
def test_event_without_weight_is_as_if_it_were_not_there(name):
    rows = [("a", "x", "buy"), ("a", "y", "buy"), ("b", "y", "buy"), ("b", "z", "buy"), ("c", "x", "buy")]
    vocabulary = Vocabulary.of("xyz")
    kind = model_class(name)
    settings = {"event_weights": {"view": 0.0, "buy": 1.0}}
    settings |= {"factors": 2} if name == "als" else {}
    config = kind.config_class(**settings)
    views = [("c", "z", "view"), ("d", "y", "view")]
    plain, mixed = (
        learnt(name, TrainingData.of(events(*part), vocabulary, config=config), **settings)
        for part in (rows, [*rows, *views])
    )
    for left, right in zip(plain.get_weights(), mixed.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    with pytest.raises(ConfigError, match="no weight for 'cart'"):
        TrainingData.of(events(("a", "x", "cart")), vocabulary, config=config)


@pytest.mark.parametrize("name", BASELINES)
def test_heavier_event_counts_more(name):
    """Of two items that go with item 1 alike, the one whose events weigh more is recommended first."""
    data = training_data([[1, 2], [1, 3], [1, 4], [4, 5]], item_count=5)
    settings = {"factors": 2, "iterations": 50} if name == "als" else {}
    heavy = weighed(data, [[1, 1], [1, 3], [1, 1], [1, 1]])
    before, after = (scores(learnt(name, given, **settings), [1])[0] for given in (data, heavy))
    assert after[2] > after[1]
    assert after[2] - after[1] > before[2] - before[1] + 1e-3


def test_als_without_its_library_says_what_to_do(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"implicit, which is not installed.*tastemaker\[jobs\]"):
        learnt("als", training_data(HISTORIES, item_count=5))


def test_repeated_events_add_up_or_count_once():
    data = weighed(training_data([[1, 2, 1], [2]], item_count=2), [[1, 1, 3], [2]])
    assert interactions.user_item_matrix(data, add_repeats=True).toarray().tolist() == [[4, 1], [0, 2]]
    assert interactions.user_item_matrix(data, add_repeats=False).toarray().tolist() == [[3, 1], [0, 2]]


def test_bag_has_each_item_once():
    bag = interactions.bag_of_items(tf.constant([[0, 3, 1, 3], [0, 0, 0, 0]]), 4)
    assert tf.sparse.to_dense(bag).numpy().tolist() == [[1, 0, 1, 0], [0, 0, 0, 0]]
    assert tf.sparse.to_dense(interactions.bag_of_items(tf.zeros([2, 0], tf.int32), 2)).numpy().tolist() == [[0, 0]] * 2


@pytest.mark.parametrize(("users", "items"), [(40, 30), (200, 90)])
def test_directions_of_items_are_near_the_cosines_of_their_users(users, items):
    split = leave_last_out(synthetic_ratings(seed=2, users=users, items=items))
    config = model_class("ease").config_class()
    matrix = interactions.user_item_matrix(
        TrainingData.of(split.train, Vocabulary.of(split.train.item_id), config=config), add_repeats=False
    )
    of_users = matrix.toarray() / np.linalg.norm(matrix.toarray(), axis=0)
    short = interactions.item_directions(matrix)
    short = short / np.linalg.norm(short, axis=1, keepdims=True)
    assert short.shape[1] <= 64
    assert np.corrcoef((of_users.T @ of_users).ravel(), (short @ short.T).ravel())[0, 1] > 0.98


def test_baselines_answer_as_their_saved_models_do(tmp_path):
    split = leave_last_out(synthetic_ratings(seed=3))
    questions = questions_of(split)
    lists = baseline_lists(split, questions, k=7, seed=0, note=pytest.fail)
    assert tuple(lists) == BASELINES
    vocabulary = Vocabulary.of(split.train.item_id)
    for name in BASELINES:
        config = model_class(name).config_class()
        model = learnt(name, TrainingData.of(split.train, vocabulary, config=config))
        export_saved_model(model, vocabulary.item_ids, tmp_path / name)
        assert SavedModel(tmp_path / name).lists(questions, k=7) == lists[name]


def test_baseline_that_does_not_fit_is_left_out_with_a_note(monkeypatch):
    kind = model_class("ease")
    small = kind.config_class(max_items=3)
    monkeypatch.setattr(kind, "config_class", lambda: small)
    split = leave_last_out(synthetic_ratings(seed=3))
    notes = []
    lists = baseline_lists(split, questions_of(split), k=5, seed=0, note=notes.append)
    assert tuple(lists) == ("popularity", "item_knn", "als")
    assert len(notes) == 1
    assert "ease" in notes[0]
    assert "max_items" in notes[0]
