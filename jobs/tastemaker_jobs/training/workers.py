"""Workers that train one model together: each on its own users, gradients averaged at every step. Knows no Ray.

Every worker begins with the same weights, applies the same averaged gradients, and so has the same weights after each
step; what layers learn outside the gradient, such as the statistics of batch norm, is averaged after each epoch.

The variables are plain ones: TensorFlow's strategy only adds up tensors over the workers, in one piece per step. Under
the strategy's own variables Keras 3 fails in `fit`, and clips each worker's gradient before it is averaged, which is
not what one worker does with the whole batch.

Source: Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training" (VLDB 2020).
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tastemaker_jobs.errors import CheckpointError
from tastemaker_jobs.models.recommender import Examples
from tastemaker_jobs.training.loop import Learner, TrainingStep, count_of, diverged
from tastemaker_jobs.training.progress import EpochEvent

__all__ = ["Progress", "Together", "descend_together"]


_STATISTICS = ("moving_mean", "moving_variance")  # as Keras calls those of batch norm


@dataclass(frozen=True)
class Progress:
    """How far training is: what a worker that takes over must know, besides weights and the optimiser's state."""

    epoch: int = 0
    """The last one that ended; 0 before the first."""
    best: float = -math.inf
    """The best score so far."""
    best_epoch: int = 0
    """Whose it is."""
    is_last: bool = False
    """Whether training has ended with it."""
    seconds: float = 0.0
    """Wall time of the epochs so far."""

    def as_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return asdict(self) | {"best": None if math.isinf(self.best) or math.isnan(self.best) else self.best}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Progress":
        """The opposite of `as_json`."""
        return cls(**content | {"best": -math.inf if content["best"] is None else content["best"]})


class Together:
    """The workers of a training run, seen from one of them. Each must make the same calls in the same order."""

    def __init__(self, *, number: int, count: int) -> None:
        """Joins the others, by what `TF_CONFIG` says of them; alone where there are none.

        Args:
            number: Which worker this is, from 0.
            count: How many there are.
        """
        self.number, self.count = number, count
        self._strategy = tf.distribute.MultiWorkerMirroredStrategy() if count > 1 else None
        if self._strategy is not None:
            self._sum = tf.function(self.sum, input_signature=[tf.TensorSpec([None], tf.float32)])

    def sum(self, vector: tf.Tensor) -> tf.Tensor:
        """Over all workers: float32 [N], of the same N everywhere, to float32 [N]. May be traced."""
        if self._strategy is None:
            return vector

        strategy = self._strategy

        def add(mine: tf.Tensor) -> tf.Tensor:
            with tf.device(strategy.extended.worker_devices[0]):  # a tensor of no known place cannot be added up
                mine = tf.identity(mine)
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, mine)

        return strategy.run(add, args=(vector,))

    def mean_of_each(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Tensors averaged over the workers, sent as one vector. May be traced; sparse gradients become dense."""
        if self._strategy is None:
            return list(tensors)
        dense = [tf.convert_to_tensor(tensor) for tensor in tensors]
        whole = self.sum(tf.concat([tf.reshape(tf.cast(one, tf.float32), [-1]) for one in dense], axis=0)) / self.count
        parts = tf.split(whole, [tf.size(one) for one in dense], num=len(dense))
        return [tf.cast(tf.reshape(part, tf.shape(one)), one.dtype) for part, one in zip(parts, dense, strict=True)]

    def total(self, vector: Sequence[float] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Numbers [N] added up over the workers, [N]."""
        mine = np.asarray(vector, np.float32)
        return mine if self._strategy is None else np.asarray(self._sum(tf.constant(mine)))

    def average_statistics(self, model: Any) -> None:
        """Make the statistics of batch norm the same on all workers: their mean."""
        variables = [variable for variable in model.non_trainable_variables if variable.name in _STATISTICS]
        if not variables or self._strategy is None:
            return
        mean = self.total(np.concatenate([variable.numpy().ravel() for variable in variables])) / self.count
        ends = np.cumsum([int(np.prod(variable.shape)) for variable in variables])
        for variable, part in zip(variables, np.split(mean, ends[:-1]), strict=True):
            variable.assign(part.reshape(variable.shape))


def descend_together(
    model: Learner,
    data: Any,
    together: Together,
    *,
    score: Callable[[], tuple[float, int]],
    seed: int,
    report: Callable[[EpochEvent], None],
    save: Callable[[Progress, float, Any], str],
    resume: Callable[[Any], Progress],
    measure: str = "NDCG@10",
    scale_loss: bool = False,
) -> Progress:
    """Train a model on all workers; the caller of `save` keeps the best weights.

    Each worker takes its share of a batch from its own data. A worker with fewer examples goes through some of them
    twice in an epoch, so that no worker waits for a step that another one does not take.

    Args:
        model: The same on all workers.
        data: What its `examples` takes: this worker's part.
        together: The workers.
        score: Called after each epoch: the mean score of this worker's share of the validation, and how many it is
            the mean of.
        seed: Of the order of examples, with the worker's number and the epoch.
        report: Told of each epoch.
        save: Called on each worker at the end of each epoch with progress, score and optimiser; may keep them. Returns
            what went wrong, "" if nothing: then all workers end, as none may wait for one that is gone.
        resume: Called once with the optimiser: puts back what was kept, if anything was.
        measure: What `score` measures.
        scale_loss: See `TrainingStep`.

    Raises:
        TrainingDivergedError: The loss became NaN or infinite.
        CheckpointError: A worker could not save.
    """
    tf.config.experimental.enable_op_determinism()
    config = model.config
    examples = model.examples(data, np.random.default_rng([seed, 0, together.number]))
    share = max(1, config.batch_size // together.count)
    steps = max(1, math.ceil(float(together.total([count_of(examples)])[0]) / (share * together.count)))
    step = TrainingStep(model, examples, steps_per_epoch=steps, reduce=together.mean_of_each, scale_loss=scale_loss)
    progress = resume(step.optimizer)
    while not progress.is_last and progress.epoch < config.epochs:
        epoch, began = progress.epoch + 1, time.monotonic()
        rng = np.random.default_rng([seed, epoch, together.number])
        examples = model.examples(data, rng)
        loss = float(np.mean([step(batch).numpy() for batch in _batches(examples, share, steps, rng)]))
        if not math.isfinite(loss):
            raise diverged(model, loss, epoch)
        together.average_statistics(model)
        mine, count = score()
        total, asked = together.total([mine * count if count else 0.0, count])
        value = float(total / asked) if asked else math.nan
        seconds = time.monotonic() - began
        is_best = math.isnan(value) or value > progress.best
        best, best_epoch = (value, epoch) if is_best else (progress.best, progress.best_epoch)
        is_last = epoch == config.epochs or epoch - best_epoch >= config.patience_epochs
        progress = Progress(epoch, best, best_epoch, is_last, progress.seconds + seconds)
        seen = steps * share * together.count
        report(EpochEvent(model.name_in_registry, epoch, config.epochs, loss, value, seconds, measure, seen))
        problem = save(progress, value, step.optimizer)
        if together.total([float(bool(problem))])[0]:
            raise CheckpointError(f"{model.name_in_registry}: {problem or 'another worker could not save'}")
    return progress


def _batches(examples: Examples, size: int, steps: int, rng: np.random.Generator) -> Any:
    """`steps` batches in an order of its own; it begins anew where it has seen all."""
    count = count_of(examples)
    rounds = math.ceil(steps * size / count)
    order = np.concatenate([rng.permutation(count) for _ in range(rounds)])
    for start in range(0, steps * size, size):
        chosen = order[start : start + size]
        yield {name: tf.constant(array[chosen]) for name, array in examples.items()}
