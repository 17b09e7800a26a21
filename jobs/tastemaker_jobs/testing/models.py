"""The test base that every model runs: what the contract of the signatures promises, held against an exported model."""

import dataclasses
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from tastemaker_jobs.data.item_features import ItemFeatures
from tastemaker_jobs.data.ratings import Ratings
from tastemaker_jobs.data.splits import leave_last_out
from tastemaker_jobs.data.vocabulary import Vocabulary
from tastemaker_jobs.evaluation.inputs import vocabulary_of
from tastemaker_jobs.models import model_class
from tastemaker_jobs.models.recommender import GradientConfig, Recommender
from tastemaker_jobs.models.signatures import export_saved_model
from tastemaker_jobs.models.training_data import TrainingData
from tastemaker_jobs.registry import contract_check
from tastemaker_jobs.testing.synthetic import synthetic_ratings
from tastemaker_jobs.testing.synthetic_items import synthetic_features
from tastemaker_jobs.training.settings import config_of
from tastemaker_jobs.training.validation import Validation

__all__ = ["ExportedModel", "ModelContract", "train_small", "training_data"]

_LOAD_IN_A_CLEAN_PROCESS = Path(__file__).with_name("clean_process.py")


def train_small(
    model_name: str,
    ratings: Ratings,
    *,
    seed: int,
    epochs: int = 2,
    features: ItemFeatures | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Recommender, Vocabulary]:
    """A model trained briefly.

    Args:
        model_name: Of the registry.
        ratings: To split and train on.
        seed: Of weights and examples.
        epochs: At most, of models that have any.
        features: Of the items, for models that look at them.
        settings: In place of the model's defaults.
    """
    split = leave_last_out(ratings)
    kind = model_class(model_name)
    config = config_of(kind, settings)
    if isinstance(config, GradientConfig):
        config = dataclasses.replace(config, epochs=epochs)
    known = features if kind.looks_at_items(config, listed=features is not None) else None
    vocabulary, histories = vocabulary_of(split, known), split.train.histories()
    data = TrainingData.of(
        split.train, vocabulary, config=config, features=known.in_order(vocabulary.item_ids) if known else None
    )
    model = kind.for_data(config, data, seed=seed)
    held_out = dict(zip(split.valid.user_id, split.valid.item_id, strict=True))
    model.learn(data, validation=Validation(vocabulary, histories, held_out), seed=seed, report=lambda _: None)
    return model, vocabulary


def training_data(histories: Sequence[Sequence[int]], *, item_count: int) -> TrainingData:
    """Training data of these histories alone: all events weigh the same, one second apart.

    Args:
        histories: Of each user, [T] item numbers.
        item_count: I; items are called by their numbers.
    """
    ids = tuple(str(number) for number in range(1, item_count + 1))
    ones = tuple(np.ones(len(history), dtype=np.float32) for history in histories)
    return TrainingData(
        Vocabulary(ids, {item: number for number, item in enumerate(ids, start=1)}),
        tuple(np.array(history, dtype=np.int32) for history in histories),
        ones,
        ones,
        tuple(np.arange(len(history), dtype=np.int64) for history in histories),
    )


@dataclass(frozen=True)
class ExportedModel:
    """A small model, in memory and loaded back from disk."""

    model: Recommender
    """As trained."""
    vocabulary: Vocabulary
    """Its items."""
    folder: Path
    """Its SavedModel."""
    loaded: Any
    """What tf.saved_model.load made of the folder."""

    def recommend(
        self, history: list[list[str]], exclude: list[list[str]] | None = None, k: int | list[int] = 10
    ) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.float32]]:
        """Call the signature `recommend`.

        Args:
            history: [B, T].
            exclude: [B, E], nothing by default.
            k: One, or one per row.

        Returns:
            item_id [B, k] str and score [B, k].
        """
        answer = self.loaded.signatures["recommend"](
            history=tf.constant(history, tf.string),
            exclude=tf.constant(exclude if exclude is not None else [[""]] * len(history)),
            k=tf.constant(k, tf.int32),
        )
        return _text(answer["item_id"]), answer["score"].numpy()

    def similar(self, item_id: list[str], k: int) -> npt.NDArray[np.object_]:
        """Call the signature `similar`.

        Args:
            item_id: [B].
            k: How many.

        Returns:
            item_id [B, k] str.
        """
        answer = self.loaded.signatures["similar"](
            item_id=tf.constant(item_id), exclude=tf.constant([[""]] * len(item_id)), k=tf.constant(k)
        )
        return _text(answer["item_id"])


class ModelContract:
    """Subclass it as `class TestRnn(ModelContract)` and name the model; pytest does the rest."""

    model_name: ClassVar[str]
    """A name of the registry."""
    settings: ClassVar[Mapping[str, Any]] = {}
    """In place of the model's defaults, to be small."""
    has_randomness: ClassVar[bool] = True
    """Whether the seed decides anything; it does not where a model is computed in closed form."""

    @pytest.fixture(scope="class")
    @classmethod
    def features(cls, tmp_path_factory: pytest.TempPathFactory) -> ItemFeatures | None:
        """Of the synthetic items, with three more that nobody touched; None for models that don't look at items."""
        if not model_class(cls.model_name).knows_untouched_items:
            return None
        return synthetic_features(tmp_path_factory.mktemp("images"))

    @pytest.fixture(scope="class")
    @classmethod
    def exported(cls, tmp_path_factory: pytest.TempPathFactory, features: ItemFeatures | None) -> ExportedModel:
        """The model, trained on synthetic ratings and exported; once for all tests of the class."""
        model, vocabulary = train_small(
            cls.model_name, synthetic_ratings(seed=1), seed=7, features=features, settings=cls.settings
        )
        folder = tmp_path_factory.mktemp(cls.model_name) / "1"
        export_saved_model(model, vocabulary.item_ids, folder)
        return ExportedModel(model, vocabulary, folder, tf.saved_model.load(str(folder)))

    def test_reloaded_model_gives_equal_scores(self, exported: ExportedModel) -> None:
        """What is served is what was trained."""
        history = list(exported.vocabulary.item_ids[:5])
        in_memory = exported.model.score_items(tf.constant([exported.vocabulary.encode(history)])).numpy()[0]
        items, scores = exported.recommend([history], k=len(exported.vocabulary))
        by_item = dict(zip(items[0], scores[0], strict=True))
        expected = [by_item[item] for item in exported.vocabulary.item_ids]
        np.testing.assert_allclose(in_memory, expected, rtol=1e-5, atol=1e-6)

    def test_score_agrees_with_recommend(self, exported: ExportedModel) -> None:
        """The two signatures are views of the same scores; unknown candidates have none."""
        history = list(exported.vocabulary.item_ids[3:6])
        items, scores = exported.recommend([history], k=4)
        candidates = [*items[0], "no such film", ""]
        answer = exported.loaded.signatures["score"](
            history=tf.constant([history]), candidate=tf.constant([candidates])
        )
        np.testing.assert_allclose(answer["score"].numpy()[0, :4], scores[0], rtol=1e-6)
        assert np.isneginf(answer["score"].numpy()[0, 4:]).all()

    def test_padding_does_not_matter(self, exported: ExportedModel) -> None:
        """Left padding of any length, and the company in the batch, change nothing."""
        history = list(exported.vocabulary.item_ids[:3])
        items, scores = exported.recommend([history])
        for padding in (1, 10, 90):
            others = list(exported.vocabulary.item_ids[-3:])
            padded = [[""] * padding + history, [""] * padding + others]
            padded_items, padded_scores = exported.recommend(padded)
            assert list(padded_items[0]) == list(items[0])
            np.testing.assert_allclose(padded_scores[0], scores[0], rtol=1e-5, atol=1e-6)

    def test_unknown_items_are_ignored(self, exported: ExportedModel) -> None:
        """Unknown ids in the history are as if they were not there; in `exclude` they do no harm."""
        known = list(exported.vocabulary.item_ids[:3])
        items, scores = exported.recommend([known])
        mixed = ["new film", known[0], "", known[1], "another", known[2], "third"]
        mixed_items, mixed_scores = exported.recommend([mixed], exclude=[["new film", ""]])
        assert list(mixed_items[0]) == list(items[0])
        np.testing.assert_allclose(mixed_scores[0], scores[0], rtol=1e-5, atol=1e-6)

    def test_history_of_nothing_but_padding_gives_a_full_list(self, exported: ExportedModel) -> None:
        """A new user gets an answer."""
        for history in ([""], [""] * 60, ["unknown"]):
            items, scores = exported.recommend([history])
            assert all(items[0])
            assert np.isfinite(scores[0]).all()

    def test_history_longer_than_any_in_training_works(self, exported: ExportedModel) -> None:
        """T has no upper bound."""
        items, _ = exported.recommend([list(exported.vocabulary.item_ids) * 20])
        assert all(items[0])

    def test_excluded_items_never_return(self, exported: ExportedModel) -> None:
        """Whatever their score; and there is one list per row, each with its own exclusions."""
        known = exported.vocabulary.item_ids
        exclude = [list(known[:5]), [*known[5:9], ""]]
        items, _ = exported.recommend([list(known[:4])] * 2, exclude=exclude, k=len(known))
        for row, excluded in zip(items, exclude, strict=True):
            returned = [item for item in row if item]
            assert set(returned) == set(known) - set(excluded)
            assert len(returned) == len(set(returned))

    def test_everything_excluded_gives_an_empty_list(self, exported: ExportedModel) -> None:
        """Not an error."""
        items, scores = exported.recommend([["film-1"]], exclude=[list(exported.vocabulary.item_ids)])
        assert not any(items[0])
        assert np.isneginf(scores[0]).all()

    def test_lists_are_best_first(self, exported: ExportedModel) -> None:
        """Scores never rise along a list."""
        _, scores = exported.recommend([[item] for item in exported.vocabulary.item_ids])
        assert (np.diff(scores, axis=1) <= 0).all()

    def test_k_above_the_catalogue_is_filled_up(self, exported: ExportedModel) -> None:
        """With "" and -inf, to the width that was asked for."""
        count = len(exported.vocabulary)
        items, scores = exported.recommend([["film-1"]], k=count + 7)
        assert items.shape == scores.shape == (1, count + 7)
        assert set(items[0, :count]) == set(exported.vocabulary.item_ids)
        assert list(items[0, count:]) == [""] * 7
        assert np.isneginf(scores[0, count:]).all()

    def test_k_per_row_gives_each_row_its_own_length(self, exported: ExportedModel) -> None:
        """So that a server can batch calls whose k differ; each row starts as it would alone."""
        history = [["film-1"], ["film-2"], ["film-3"]]
        full, _ = exported.recommend(history, k=5)
        items, scores = exported.recommend(history, k=[2, 5, 0])
        assert items.shape == (3, 5)
        for row, k in enumerate((2, 5, 0)):
            assert list(items[row]) == [*full[row, :k], *[""] * (5 - k)]
            assert np.isneginf(scores[row, k:]).all()

    @pytest.mark.parametrize("k", [0, -3])
    def test_k_of_nothing_gives_empty_rows(self, exported: ExportedModel, k: int) -> None:
        """Not an error."""
        items, scores = exported.recommend([["film-1"]], k=k)
        assert items.shape == scores.shape == (1, 0)

    def test_similar_leaves_out_the_item_itself(self, exported: ExportedModel) -> None:
        """And has nothing for an unknown one."""
        first = exported.vocabulary.item_ids[0]
        items = exported.similar([first, "no such film"], k=len(exported.vocabulary))
        assert set(items[0]) - {""} == set(exported.vocabulary.item_ids) - {first}
        assert not any(items[1])

    def test_one_seed_gives_one_model(self, features: ItemFeatures | None) -> None:
        """Bit by bit; and another seed another one, where there is randomness."""
        ratings = synthetic_ratings(seed=1)
        one, again, other = (
            train_small(self.model_name, ratings, seed=seed, features=features, settings=self.settings)[0].get_weights()
            for seed in (7, 7, 8)
        )
        for left, right in zip(one, again, strict=True):
            np.testing.assert_array_equal(left, right)
        assert self.has_randomness == any((left != right).any() for left, right in zip(one, other, strict=True))

    def test_keeps_the_contract_that_publish_checks(self, exported: ExportedModel) -> None:
        """Signatures, answers, and ops that an unmodified tensorflow/serving image has."""
        assert list(contract_check.problems(str(exported.folder))) == []

    def test_loads_in_a_process_without_our_code(self, exported: ExportedModel) -> None:
        """With tf.saved_model.load and in a TensorFlow 1 session, as TensorFlow Serving does; same answer."""
        items, _ = exported.recommend([["film-1", "film-2"]], exclude=[["film-2"]], k=3)
        done = subprocess.run(
            [sys.executable, str(_LOAD_IN_A_CLEAN_PROCESS), str(exported.folder), "film-1,film-2", "film-2", "3"],
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [",".join(items[0])] * 2


def _text(ids: tf.Tensor) -> npt.NDArray[np.object_]:
    return np.array([[item.decode() for item in row] for row in ids.numpy()], dtype=object).reshape(ids.shape)
