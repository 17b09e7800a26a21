"""What one worker of Ray Train does: reads its shard, trains in step with others, writes and resumes checkpoints."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train

from tastemaker_jobs.errors import TastemakerJobsError
from tastemaker_jobs.shards import read_shard
from tastemaker_jobs.training.progress import EpochEvent, StageEvent

__all__ = ["WEIGHTS", "arrays", "train_as_worker"]

WEIGHTS = "weights.npz"
"""The file of a checkpoint that has the model's weights."""
_OPTIMIZER, _PROGRESS = "optimizer.npz", "progress.json"


def train_as_worker(given: dict[str, Any]) -> None:
    """One worker. Runs in a process of its own, in which TensorFlow starts.

    Args:
        given: Of the driver: `shared`, a reference to what all workers get, and `events`, a queue for what they tell.
    """
    shared = ray.get(given["shared"])
    from tastemaker_jobs.training.speed import multiplies_in_16_bits, set_speed
    from tastemaker_jobs.training.workers import Progress, Together, descend_together

    scale_loss = set_speed(mixed_precision=shared["mixed_precision"], xla=shared["xla"])
    context = ray.train.get_context()
    number, count = context.get_world_rank(), context.get_world_size()
    together = Together(number=number, count=count)  # first: a strategy wants TensorFlow untouched
    data = read_shard(ray.train.get_dataset_shard(f"shard-{number}"), shared["skeleton"])
    kind, config = shared["kind"], shared["config"]
    model = kind.for_data(config, data, seed=shared["seed"])
    model.set_weights(shared["weights"])
    validation = shared["validation"].part(number, count)
    judge = validation.scorer(model)

    def score() -> tuple[float, int]:
        model.epoch_ended()
        return judge(), len(validation)

    def save(progress: Progress, value: float, optimizer: Any) -> str:
        # Of equals the first is the best, as without workers; where nothing can be told, the last.
        rank = float(progress.epoch) if np.isnan(value) else value - 1e-9 * progress.epoch
        metrics = progress.as_json() | {"rank": rank}
        due = progress.is_last or progress.best_epoch == progress.epoch
        if not due and progress.epoch % shared["checkpoint_every"]:
            return ""
        if number:
            ray.train.report(metrics)
            return ""
        with tempfile.TemporaryDirectory(prefix="tastemaker-checkpoint-") as folder:
            np.savez(Path(folder, WEIGHTS), *model.get_weights())
            np.savez(Path(folder, _OPTIMIZER), *[variable.numpy() for variable in optimizer.variables])
            Path(folder, _PROGRESS).write_text(json.dumps(progress.as_json()))
            try:
                ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))
            except OSError as error:
                return f"the checkpoint of epoch {progress.epoch} cannot be written: {error}. {shared['advice']}"
        return ""

    def resume(optimizer: Any) -> Progress:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return Progress()
        with checkpoint.as_directory() as folder:
            model.set_weights(arrays(Path(folder, WEIGHTS)))
            for variable, value in zip(optimizer.variables, arrays(Path(folder, _OPTIMIZER)), strict=True):
                variable.assign(value)
            progress = Progress.from_json(json.loads(Path(folder, _PROGRESS).read_text()))
        tell(StageEvent(model.name_in_registry, f"going on after epoch {progress.epoch}", is_restart=True))
        if progress.is_last:  # trained, and cut off before it was published
            ray.train.report(progress.as_json() | {"rank": 0.0})
        return progress

    def tell(event: StageEvent | EpochEvent | TastemakerJobsError) -> None:
        if number == 0:
            given["events"].put(event)

    if shared["mixed_precision"]:
        is_short = multiplies_in_16_bits()
        said = (
            "multiplying in 16 bits" if is_short else "this processor multiplies in 32 bits, --mixed-precision or not"
        )
        tell(StageEvent(model.name_in_registry, said))
    try:
        descend_together(
            model,
            data,
            together,
            score=score,
            seed=shared["seed"],
            report=tell,
            save=save,
            resume=resume,
            measure=validation.measure,
            scale_loss=scale_loss,
        )
    except TastemakerJobsError as error:  # all workers have it, and would have it again: nothing to retry
        tell(error)


def arrays(path: Path) -> list[Any]:
    """Of a file of a checkpoint, in the order in which they were written.

    Args:
        path: To an .npz.
    """
    with np.load(path) as found:
        return [found[name] for name in found.files]
