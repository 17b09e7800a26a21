"""The training loop: every model, one process, no Ray.

Owns epochs, batches, the optimiser, early stopping and what makes a run repeatable.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from tastemaker_jobs.errors import TrainingDivergedError
from tastemaker_jobs.models.recommender import Examples, GradientConfig, GradientRecommender
from tastemaker_jobs.models.training_data import TrainingData
from tastemaker_jobs.training.progress import EpochEvent, Report
from tastemaker_jobs.training.request import Trained
from tastemaker_jobs.training.validation import Validation, score_function

__all__ = ["Learner", "descend", "fit", "run_epoch", "training_step"]


class Learner(Protocol):
    """What the loop needs of a model."""

    config: Any
    name_in_registry: Any
    trainable_variables: Any

    def examples(self, data: Any, rng: np.random.Generator) -> Examples:
        """See `GradientRecommender.examples`."""

    def training_loss(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """See `GradientRecommender.training_loss`."""

    def get_weights(self) -> Any:
        """Of a Keras model."""

    def set_weights(self, weights: Any) -> None:
        """Of a Keras model."""


def fit(
    model: GradientRecommender, data: TrainingData, *, validation: Validation, seed: int, report: Report
) -> Trained:
    """Train a recommender in place; at the end it has the weights of its best epoch on the validation items.

    Args:
        model: Fresh from its constructor.
        data: What it may learn from.
        validation: Decides when to stop, by the model's `patience_epochs`.
        seed: Of the order of examples.
        report: Told of each epoch.

    Raises:
        TrainingDivergedError: The loss became NaN or infinite.
    """
    score_items = score_function(model)

    def score() -> float:
        model.epoch_ended()
        return validation.score(score_items)

    return descend(model, data, score=score, seed=seed, report=report, measure=validation.measure)


def descend(
    model: Learner, data: Any, *, score: Callable[[], float], seed: int, report: Report, measure: str = "NDCG@10"
) -> Trained:
    """Train any model in place; at the end it has the weights of its best epoch.

    The same seed, data and settings give the same weights on the same machine: examples are made and shuffled by a
    generator from the seed, layers have seeds of their own, and TensorFlow is told to use deterministic kernels.

    Args:
        model: Fresh from its constructor.
        data: What its `examples` takes.
        score: Called after each epoch: how good it is now, higher is better; NaN where nobody can tell.
        seed: Of the order of examples.
        report: Told of each epoch.
        measure: What `score` measures.

    Raises:
        TrainingDivergedError: The loss became NaN or infinite.
    """
    tf.config.experimental.enable_op_determinism()
    config: GradientConfig = model.config
    rng = np.random.default_rng(seed)
    step = training_step(model, model.examples(data, np.random.default_rng(seed)))
    began = time.monotonic()
    best, best_epoch, best_weights, epoch = -math.inf, 0, model.get_weights(), 0
    for epoch in range(1, config.epochs + 1):
        epoch_began = time.monotonic()
        loss = run_epoch(step, model.examples(data, rng), config.batch_size, rng)
        if not math.isfinite(loss):
            raise TrainingDivergedError(
                f"{model.name_in_registry}: the loss was {loss} in epoch {epoch}. Lower its learning rate, now"
                f" {config.learning_rate}."
            )
        value = score()
        seconds = time.monotonic() - epoch_began
        report(EpochEvent(model.name_in_registry, epoch, config.epochs, loss, value, seconds, measure))
        if math.isnan(value) or value > best:  # without validation items the last epoch is the best
            best, best_epoch, best_weights = value, epoch, model.get_weights()
        elif epoch - best_epoch >= config.patience_epochs:
            break
    model.set_weights(best_weights)
    return Trained(epoch, best_epoch, best, time.monotonic() - began)


def training_step(model: Learner, examples: Examples) -> tf.types.experimental.PolymorphicFunction:
    """One step of Adam as a tf.function of named tensors, traced once for any batch size.

    The step size falls along half a cosine over the epochs, which ends training in a calmer place than a constant one.
    """
    count = len(next(iter(examples.values())))
    steps = max(1, model.config.epochs * math.ceil(count / model.config.batch_size))
    rate = keras.optimizers.schedules.CosineDecay(
        model.config.learning_rate, decay_steps=steps, alpha=model.config.final_rate_share
    )
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=model.config.clip_norm)
    variables = model.trainable_variables
    optimizer.build(variables)

    def step(batch: dict[str, tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = model.training_loss(batch)
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    signature = {name: tf.TensorSpec([None, *array.shape[1:]], array.dtype) for name, array in examples.items()}
    return tf.function(step, input_signature=[signature])


def run_epoch(
    step: tf.types.experimental.PolymorphicFunction, examples: Examples, batch_size: int, rng: np.random.Generator
) -> float:
    """Every example once, in an order of its own. Returns the mean loss over examples; NaN without any."""
    count = len(next(iter(examples.values())))
    order = rng.permutation(count)
    losses, sizes = [], []
    for start in range(0, count, batch_size):
        chosen = order[start : start + batch_size]
        losses.append(step({name: tf.constant(array[chosen]) for name, array in examples.items()}))
        sizes.append(len(chosen))
    return float(np.average([loss.numpy() for loss in losses], weights=sizes)) if sizes else math.nan
