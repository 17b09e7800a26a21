"""A model learnt from a split: what training runs, cross-validation and blends of models have in common."""

from dataclasses import dataclass

import keras

from tastemaker_jobs.data.item_features import ItemFeatures
from tastemaker_jobs.data.splits import Split
from tastemaker_jobs.errors import DataError, TooFewRatingsError
from tastemaker_jobs.evaluation.inputs import vocabulary_of
from tastemaker_jobs.evaluation.leakage import check_fitted
from tastemaker_jobs.evaluation.protocol import COLD_ITEMS, validation_targets
from tastemaker_jobs.models.recommender import Fit, ModelConfig, Recommender
from tastemaker_jobs.models.training_data import TrainingData
from tastemaker_jobs.training.progress import Report, StageEvent
from tastemaker_jobs.training.request import Trained
from tastemaker_jobs.training.validation import Validation

__all__ = ["Learnt", "learn_split"]


@dataclass(frozen=True)
class Learnt:
    """A model, and what it learnt from."""

    model: Recommender
    """Ready to score."""
    data: TrainingData
    """Its vocabulary is the model's."""
    trained: Trained
    """How it went."""


def learn_split(
    kind: type[Recommender],
    config: ModelConfig,
    split: Split,
    features: ItemFeatures | None,
    *,
    seed: int,
    report: Report,
    fit: Fit | None = None,
) -> Learnt:
    """Learn from the training part alone; the validation part decides when to stop. The test part is not looked at.

    Args:
        kind: The model.
        config: Of its `config_class`.
        split: Of any protocol.
        features: Of the items listed, in any order; None where no list was given.
        seed: One seed gives one model.
        report: Told of stages and epochs.
        fit: Descends the gradient, in place of the loop in this process.

    Raises:
        DataError: The model needs a list of items.
        TooFewRatingsError: There is nothing to learn from.
        ConfigError: The settings leave nothing to learn from.
        TrainingDivergedError: The loss became NaN or infinite.
    """
    if kind.knows_untouched_items and features is None:
        raise DataError(f"{kind.name_in_registry} looks at the items themselves. Give a list of them with --items.")
    listed = features if kind.looks_at_items(config, listed=features is not None) else None
    vocabulary = vocabulary_of(split, listed)
    catalogue = frozenset(listed.item_ids) if listed else frozenset[str]()
    check_fitted(vocabulary.item_ids, split, name=kind.name_in_registry, catalogue=catalogue)
    known = features.in_order(vocabulary.item_ids) if features else None
    data = TrainingData.of(split.train, vocabulary, config=config, features=known)
    if max(len(history) for history in data.histories) < 2:
        raise TooFewRatingsError(
            "No user has two ratings to train on besides those held out. Give a ratings file with longer histories."
        )
    keras.backend.clear_session()  # names of variables start anew, so that two runs in one process are alike
    model = kind.for_data(config, data, seed=seed)
    model.fit_with = fit
    histories, held_out = validation_targets(split)
    report(StageEvent(kind.name_in_registry, "training"))
    among = frozenset(split.valid.item_id) if split.protocol == COLD_ITEMS else None
    validation = Validation(vocabulary, histories, held_out, among=among)
    return Learnt(model, data, model.learn(data, validation=validation, seed=seed, report=report))
