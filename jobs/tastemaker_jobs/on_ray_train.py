"""Data-parallel training with Ray Train, from the driver's side. What a worker does is in `train_worker`.

The driver writes each worker's users or images to a Parquet file, which the worker streams through Ray Data: no worker
holds more than its share. Checkpoints go to a folder or a bucket, the newest and the best are kept; who submits a run
of the same id again, after the driver or the cluster died, goes on from the newest.
"""

import contextlib
import dataclasses
import functools
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.data
import ray.train
from ray.exceptions import RayError as UpstreamError
from ray.train.tensorflow import TensorflowTrainer
from ray.util.queue import Empty, Queue

from tastemaker_jobs import environment
from tastemaker_jobs.cluster_size import Asked, check_fits
from tastemaker_jobs.errors import CheckpointError, TastemakerJobsError, TooFewRatingsError, WorkerLostError
from tastemaker_jobs.evaluation.cross_validation import Fold, FoldRequest
from tastemaker_jobs.models.recommender import Judge
from tastemaker_jobs.ray_cluster import nodes
from tastemaker_jobs.run_storage import check_storage, claim, tidy
from tastemaker_jobs.shards import Shareable, fingerprint, write_shards
from tastemaker_jobs.train_worker import WEIGHTS, arrays, train_as_worker
from tastemaker_jobs.training.progress import Report, StageEvent
from tastemaker_jobs.training.request import Trained, Workers

__all__ = ["FoldOnWorkers", "fit_on_workers"]


def fit_on_workers(
    model: Any, data: Shareable, *, validation: Judge, seed: int, report: Report, workers: Workers
) -> Trained:
    """Train a model on several workers; at the end it has the weights of its best epoch.

    Ray must be connected.

    Args:
        model: A `Learner` with the weights to begin with; its class makes another one `for_data`.
        data: Whole.
        validation: Decides when to stop.
        seed: With the number of workers it decides the order of examples.
        report: Told of each epoch.
        workers: How many, of what, and where their checkpoints go.

    Raises:
        TooFewRatingsError: There are fewer users or images than workers.
        ClusterTooSmallError: The cluster has not enough for so many workers.
        DataError: The storage cannot be written, or the run of that id is another one.
        CheckpointError: Shards or a checkpoint cannot be written: the disk is full, or the like.
        WorkerLostError: Workers died more often than they may.
        TrainingDivergedError: The loss became NaN or infinite.
    """
    name = model.name_in_registry
    if len(data) < workers.count:
        raise TooFewRatingsError(
            f"{name}: {len(data)} {data.unit} cannot be shared by {workers.as_asked}. Ask for fewer --workers."
        )
    storage, root = check_storage(workers.storage)
    run = f"{workers.run_id}-{name}"
    folder = f"{root}/{run}"
    question = f"{name} {model.config!r} {seed} {workers.count}"
    claim(storage, folder, fingerprint(question, data))
    check_fits(Asked.by(workers), nodes())
    report(StageEvent(name, f"sharing {data.unit} among {workers.as_asked}"))
    try:
        shards = write_shards(data, workers.count, storage, f"{folder}/shards")
    except OSError as error:
        raise CheckpointError(
            f"{name}: {folder} cannot be written: {error}. Make room, or name another --storage."
        ) from error
    shared = {
        "kind": type(model),
        "config": model.config,
        "weights": model.get_weights(),
        "skeleton": data.without_rows(),
        "validation": validation,
        "seed": seed,
        "checkpoint_every": workers.checkpoint_every,
        "mixed_precision": workers.mixed_precision,
        "xla": workers.xla,
        "advice": f"Make room in --storage {workers.storage}, and go on with --run-id {workers.run_id}.",
    }
    failed: list[TastemakerJobsError] = []
    context = ray.data.DataContext.get_current()
    # Of Ray 2.60 the second reader takes 10 s to list one small file, on two cores, where the first takes 1 s.
    context.use_datasource_v2, context.enable_progress_bars = False, False
    logging.getLogger("ray.data").setLevel(logging.WARNING)  # else it tells of each file how it reads it
    with _events(report, failed) as events:
        trainer = TensorflowTrainer(
            train_as_worker,
            train_loop_config={"shared": ray.put(shared), "events": events},
            scaling_config=ray.train.ScalingConfig(
                num_workers=workers.count,
                use_gpu=workers.gpu,
                resources_per_worker={"CPU": workers.cores, **({"GPU": 1} if workers.gpu else {})},
            ),
            datasets={
                f"shard-{number}": ray.data.read_parquet(path, filesystem=storage) for number, path in enumerate(shards)
            },
            dataset_config=ray.train.DataConfig(datasets_to_split=[]),  # each worker asks for its own
            run_config=ray.train.RunConfig(
                name=run,
                storage_path=root,
                storage_filesystem=storage,
                failure_config=ray.train.FailureConfig(max_failures=workers.retries),
                checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="rank"),
                worker_runtime_env={
                    "env_vars": environment.of_worker(cores=workers.cores, mixed_precision=workers.mixed_precision)
                },
            ),
        )
        try:
            result = trainer.fit()
        except ray.train.TrainingFailedError as error:
            raise _lost(error, workers) from error
        except UpstreamError as error:
            text = f"Ray lost the run {workers.run_id} ({type(error).__name__}). Submit it again with its --run-id."
            raise WorkerLostError(text) from error
    if failed:
        raise failed[0]
    best = max(result.best_checkpoints, key=lambda pair: pair[1]["rank"])[0] if result.best_checkpoints else None
    if best is None:
        raise WorkerLostError(f"The run {workers.run_id} left no checkpoint. Submit it again.")
    kept = {Path(checkpoint.path).name for checkpoint, _ in result.best_checkpoints}
    tidy(storage, folder, kept | ({Path(result.checkpoint.path).name} if result.checkpoint else set()))
    with best.as_directory() as found:
        model.set_weights(arrays(Path(found, WEIGHTS)))
    model.epoch_ended()
    progress = result.metrics
    return Trained(progress["epoch"], progress["best_epoch"], progress["best"], progress["seconds"])


@dataclass(frozen=True)
class FoldOnWorkers:
    """One fold of a cross-validation as a Ray task that asks for workers of its own."""

    one_fold: Callable[..., Fold]
    """`run_fold` or `run_image_fold`."""
    workers: Workers
    """Whom each fold asks for."""

    def __call__(self, request: FoldRequest, report: Report) -> Fold:
        """See `one_fold`."""
        run_id = f"{self.workers.run_id}-fold-{request.number + 1}"
        workers = dataclasses.replace(self.workers, run_id=run_id)
        return self.one_fold(request, report, fit=functools.partial(fit_on_workers, workers=workers))


@contextlib.contextmanager
def _events(report: Report, failed: list[TastemakerJobsError]) -> Iterator[Queue]:
    """A queue whose events reach the listener, and errors the list, while the block runs and before it ends."""
    events, ended = Queue(actor_options={"num_cpus": 0}), threading.Event()

    def drain() -> None:
        while not (ended.is_set() and events.empty()):
            with contextlib.suppress(Empty):
                event = events.get(timeout=0.2)
                failed.append(event) if isinstance(event, TastemakerJobsError) else report(event)

    thread = threading.Thread(target=drain, daemon=True)
    thread.start()
    try:
        yield events
    finally:
        ended.set()
        thread.join()
        events.shutdown()


def _lost(error: Exception, workers: Workers) -> WorkerLostError:
    last = [line for line in str(error).splitlines() if line.strip()][-1].strip()
    return WorkerLostError(
        f"workers were lost {workers.retries + 1} times in the run {workers.run_id}; the last one said: {last[:300]}\n"
        "Is memory or the disk full? Submit it again with its --run-id to go on from its last checkpoint."
    )
