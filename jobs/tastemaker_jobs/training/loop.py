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
from tastemaker_jobs.models.recommender import Examples, GradientConfig, Judge
from tastemaker_jobs.training.progress import EpochEvent, Report
from tastemaker_jobs.training.request import Trained

__all__ = ["Learner", "TrainingStep", "count_of", "descend", "diverged", "fit", "run_epoch"]


class Learner(Protocol):
    """What the loop needs of a model."""

    config: Any
    name_in_registry: Any
    trainable_variables: Any

    def examples(self, data: Any, rng: np.random.Generator) -> Examples:
        """See `GradientRecommender.examples`."""

    def training_loss(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """See `GradientRecommender.training_loss`."""

    def epoch_ended(self) -> None:
        """See `GradientRecommender.epoch_ended`."""

    def get_weights(self) -> Any:
        """Of a Keras model."""

    def set_weights(self, weights: Any) -> None:
        """Of a Keras model."""


def fit(model: Learner, data: Any, *, validation: Judge, seed: int, report: Report) -> Trained:
    """Train a model in place; at the end it has the weights of its best epoch by the validation.

    Args:
        model: Fresh from its constructor.
        data: What its `examples` takes.
        validation: Decides when to stop, by the model's `patience_epochs`.
        seed: Of the order of examples.
        report: Told of each epoch.

    Raises:
        TrainingDivergedError: The loss became NaN or infinite.
    """
    judge = validation.scorer(model)

    def score() -> float:
        model.epoch_ended()
        return judge()

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
    step = TrainingStep(model, model.examples(data, np.random.default_rng(seed)))
    began = time.monotonic()
    best, best_epoch, best_weights, epoch = -math.inf, 0, model.get_weights(), 0
    for epoch in range(1, config.epochs + 1):
        epoch_began = time.monotonic()
        examples = model.examples(data, rng)
        loss = run_epoch(step, examples, config.batch_size, rng)
        if not math.isfinite(loss):
            raise diverged(model, loss, epoch)
        value = score()
        seconds = time.monotonic() - epoch_began
        seen = count_of(examples)
        report(EpochEvent(model.name_in_registry, epoch, config.epochs, loss, value, seconds, measure, seen))
        if math.isnan(value) or value > best:  # without validation items the last epoch is the best
            best, best_epoch, best_weights = value, epoch, model.get_weights()
        elif epoch - best_epoch >= config.patience_epochs:
            break
    model.set_weights(best_weights)
    return Trained(epoch, best_epoch, best, time.monotonic() - began)


def diverged(model: Learner, loss: float, epoch: int) -> TrainingDivergedError:
    """The error for a loss that is no number any more."""
    return TrainingDivergedError(
        f"{model.name_in_registry}: the loss was {loss} in epoch {epoch}. Lower its learning rate, now"
        f" {model.config.learning_rate}."
    )


class TrainingStep:
    """One step of Adam as a tf.function of named tensors, traced once for any batch size.

    The step size falls along half a cosine over the epochs, which ends training in a calmer place than a constant one.
    """

    def __init__(
        self,
        model: Learner,
        examples: Examples,
        *,
        steps_per_epoch: int | None = None,
        reduce: Callable[[list[tf.Tensor]], list[tf.Tensor]] | None = None,
        scale_loss: bool = False,
    ) -> None:
        """Nothing is traced yet.

        Args:
            model: With its weights.
            examples: Such as those that it will see.
            steps_per_epoch: So many; by default what it takes to see the examples once.
            reduce: From the gradients and the loss of this worker to those of all workers; None where there is one.
            scale_loss: Keep gradients of float16 from vanishing: the loss is multiplied before, and the gradients are
                divided after, by what is found out to fit.
        """
        config: GradientConfig = model.config
        if steps_per_epoch is None:
            steps_per_epoch = math.ceil(count_of(examples) / config.batch_size)
        rate = keras.optimizers.schedules.CosineDecay(
            config.learning_rate, decay_steps=max(1, config.epochs * steps_per_epoch), alpha=config.final_rate_share
        )
        self.optimizer = keras.optimizers.Adam(rate, global_clipnorm=config.clip_norm)
        if scale_loss:
            self.optimizer = keras.optimizers.LossScaleOptimizer(self.optimizer)
        self._model, self._reduce, self._variables = model, reduce, model.trainable_variables
        self.optimizer.build(self._variables)
        signature = {name: tf.TensorSpec([None, *array.shape[1:]], array.dtype) for name, array in examples.items()}
        self._traced = tf.function(self._step, input_signature=[signature])

    def __call__(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Take a step; the loss of this batch before it, float32 []."""
        return self._traced(dict(batch))

    def _step(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = self._model.training_loss(batch)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self._variables)
        if self._reduce is not None:
            *gradients, loss = self._reduce([*gradients, loss])
        self.optimizer.apply(gradients, self._variables)
        return loss


def count_of(examples: Examples) -> int:
    """N."""
    return len(next(iter(examples.values())))


def run_epoch(
    step: Callable[[Mapping[str, tf.Tensor]], tf.Tensor], examples: Examples, batch_size: int, rng: np.random.Generator
) -> float:
    """Every example once, in an order of its own. Returns the mean loss over examples; NaN without any."""
    count = count_of(examples)
    order = rng.permutation(count)
    losses, sizes = [], []
    for start in range(0, count, batch_size):
        chosen = order[start : start + batch_size]
        losses.append(step({name: tf.constant(array[chosen]) for name, array in examples.items()}))
        sizes.append(len(chosen))
    return float(np.average([loss.numpy() for loss in losses], weights=sizes)) if sizes else math.nan
