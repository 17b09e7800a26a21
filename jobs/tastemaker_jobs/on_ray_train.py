"""Data-parallel training with Ray Train: workers, their shards, checkpoints. What a worker does knows no Ray.

The driver writes each worker's users to a Parquet file, which the worker streams through Ray Data: no worker holds more
than its share. Checkpoints go to a folder or a bucket, the newest and the best are kept; who submits a run of the same
id again, after the driver or the cluster died, goes on from the newest.
"""

import contextlib
import hashlib
import json
import logging
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data
import ray.train
from pyarrow import fs
from ray.exceptions import RayError as UpstreamError
from ray.train.tensorflow import TensorflowTrainer
from ray.util.queue import Empty, Queue

from tastemaker_jobs.errors import DataError, TastemakerJobsError, TooFewRatingsError, WorkerLostError
from tastemaker_jobs.models.recommender import GradientRecommender
from tastemaker_jobs.models.training_data import TrainingData
from tastemaker_jobs.ray_cluster import check_fits
from tastemaker_jobs.training.progress import EpochEvent, Report, StageEvent
from tastemaker_jobs.training.request import Trained, Workers
from tastemaker_jobs.training.validation import Validation

__all__ = ["check_storage", "fit_on_workers"]

_COLUMNS = ("histories", "weights", "ratings", "timestamps")
_RUN, _WEIGHTS, _OPTIMIZER, _PROGRESS = "run.json", "weights.npz", "optimizer.npz", "progress.json"


def fit_on_workers(
    model: GradientRecommender,
    data: TrainingData,
    *,
    validation: Validation,
    seed: int,
    report: Report,
    workers: Workers,
) -> Trained:
    """Train a model on several workers; at the end it has the weights of its best epoch.

    Ray must be connected.

    Args:
        model: With the weights to begin with.
        data: Of all users.
        validation: Decides when to stop.
        seed: With the number of workers it decides the order of examples.
        report: Told of each epoch.
        workers: How many, of what, and where their checkpoints go.

    Raises:
        TooFewRatingsError: There are fewer users than workers.
        ClusterTooSmallError: The cluster has not enough for so many workers.
        DataError: The storage cannot be written, or the run of that id is another one.
        WorkerLostError: Workers died more often than they may.
        TrainingDivergedError: The loss became NaN or infinite.
    """
    name = model.name_in_registry
    if len(data.histories) < workers.count:
        raise TooFewRatingsError(
            f"{name}: {len(data.histories)} users cannot be shared by {workers.count} workers. Ask for fewer --workers."
        )
    storage, root = check_storage(workers.storage)
    run = f"{workers.run_id}-{name}"
    folder = f"{root}/{run}"
    _claim(storage, folder, _fingerprint(model, data, seed, workers))
    check_fits(workers.count, cores=workers.cores, gpus=int(workers.gpu))
    report(StageEvent(name, f"sharing users among {workers.count} workers"))
    shards = _write_shards(data, workers.count, storage, f"{folder}/shards")
    skeleton = TrainingData(data.vocabulary, (), (), (), (), data.features)
    shared = {
        "kind": type(model),
        "config": model.config,
        "weights": model.get_weights(),
        "skeleton": skeleton,
        "validation": validation,
        "seed": seed,
        "checkpoint_every": workers.checkpoint_every,
        "mixed_precision": workers.mixed_precision,
        "xla": workers.xla,
    }
    failed: list[TastemakerJobsError] = []
    context = ray.data.DataContext.get_current()
    # Of Ray 2.60 the second reader takes 10 s to list one small file, on two cores, where the first takes 1 s.
    context.use_datasource_v2, context.enable_progress_bars = False, False
    logging.getLogger("ray.data").setLevel(logging.WARNING)  # else it tells of each file how it reads it
    with _events(report, failed) as events:
        trainer = TensorflowTrainer(
            _work,
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
                worker_runtime_env={"env_vars": _threads(workers.cores)},
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
    _tidy(storage, folder, kept | ({Path(result.checkpoint.path).name} if result.checkpoint else set()))
    with best.as_directory() as found:
        model.set_weights(_arrays(Path(found, _WEIGHTS)))
    model.epoch_ended()
    progress = result.metrics
    return Trained(progress["epoch"], progress["best_epoch"], progress["best"], progress["seconds"])


def check_storage(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of a URI or a path, and the path on it. Written to, to see that it can be.

    Raises:
        DataError: It cannot be written.
    """
    try:
        storage, root = fs.FileSystem.from_uri(uri if "://" in uri else str(Path(uri).absolute()))
        storage.create_dir(root, recursive=True)
        probe = f"{root}/.tastemaker-probe"
        with storage.open_output_stream(probe) as stream:
            stream.write(b"probe")
        storage.delete_file(probe)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(
            f"--storage {uri} cannot be written: {error}. Name a folder or an s3:// or gs:// URI."
        ) from error
    return storage, root


def _claim(storage: fs.FileSystem, folder: str, fingerprint: str) -> None:
    """A run's id belongs to one question: data, model, settings, seed and number of workers."""
    path = f"{folder}/{_RUN}"
    if storage.get_file_info(path).type == fs.FileType.File:
        with storage.open_input_stream(path) as stream:
            if json.loads(stream.read())["fingerprint"] == fingerprint:
                return
        raise DataError(
            f"{folder} is of another run: other data, settings, seed or number of workers. Give another --run-id."
        )
    storage.create_dir(folder, recursive=True)
    with storage.open_output_stream(path) as stream:
        stream.write(json.dumps({"fingerprint": fingerprint}).encode())


def _fingerprint(model: GradientRecommender, data: TrainingData, seed: int, workers: Workers) -> str:
    digest = hashlib.sha256(f"{model.name_in_registry} {model.config!r} {seed} {workers.count}".encode())
    for history, ratings in zip(data.histories, data.ratings, strict=True):
        digest.update(len(history).to_bytes(8, "little") + history.tobytes() + ratings.tobytes())
    return digest.hexdigest()


def _write_shards(data: TrainingData, count: int, storage: fs.FileSystem, folder: str) -> list[str]:
    """A file for each worker: users dealt from the one with the longest history, to and fro, so that all have alike."""
    order = sorted(range(len(data.histories)), key=lambda user: (-len(data.histories[user]), user))
    storage.create_dir(folder, recursive=True)
    paths = []
    for number in range(count):
        mine = sorted(
            user
            for place, user in enumerate(order)
            if number in (place % (2 * count), 2 * count - 1 - place % (2 * count))
        )
        columns = {name: [getattr(data, name)[user] for user in mine] for name in _COLUMNS}
        paths.append(f"{folder}/{number}-of-{count}.parquet")
        with storage.open_output_stream(paths[-1]) as stream:
            pq.write_table(pa.table({"user": mine, **columns}), stream, row_group_size=10_000)
    return paths


def _tidy(storage: fs.FileSystem, folder: str, kept: set[str]) -> None:
    """Delete the checkpoints that a killed worker or driver had written, and Ray had not taken note of."""
    folders = [found for found in storage.get_file_info(fs.FileSelector(folder)) if found.type == fs.FileType.Directory]
    for found in folders:
        if found.base_name.startswith("checkpoint_") and found.base_name not in kept:
            storage.delete_dir(found.path)


def _work(given: dict[str, Any]) -> None:
    """One worker. Runs in a process of its own, in which TensorFlow starts."""
    shared = ray.get(given["shared"])
    from tastemaker_jobs.training.speed import set_speed
    from tastemaker_jobs.training.validation import score_function
    from tastemaker_jobs.training.workers import Progress, Together, descend_together

    set_speed(mixed_precision=shared["mixed_precision"], xla=shared["xla"])
    context = ray.train.get_context()
    number, count = context.get_world_rank(), context.get_world_size()
    together = Together(number=number, count=count)  # first: a strategy wants TensorFlow untouched
    data = _shard(ray.train.get_dataset_shard(f"shard-{number}"), shared["skeleton"])
    kind, config = shared["kind"], shared["config"]
    model = kind.for_data(config, data, seed=shared["seed"])
    model.set_weights(shared["weights"])
    validation = shared["validation"].part(number, count)
    score_items = score_function(model)

    def score() -> tuple[float, int]:
        model.epoch_ended()
        return validation.score(score_items), len(validation)

    def save(progress: Progress, value: float, optimizer: Any) -> None:
        # Of equals the first is the best, as without workers; where nothing can be told, the last.
        rank = float(progress.epoch) if np.isnan(value) else value - 1e-9 * progress.epoch
        metrics = progress.as_json() | {"rank": rank}
        due = progress.is_last or progress.best_epoch == progress.epoch
        if not due and progress.epoch % shared["checkpoint_every"]:
            return
        if number:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory(prefix="tastemaker-checkpoint-") as folder:
            np.savez(Path(folder, _WEIGHTS), *model.get_weights())
            np.savez(Path(folder, _OPTIMIZER), *[variable.numpy() for variable in optimizer.variables])
            Path(folder, _PROGRESS).write_text(json.dumps(progress.as_json()))
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))

    def resume(optimizer: Any) -> Progress:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return Progress()
        with checkpoint.as_directory() as folder:
            model.set_weights(_arrays(Path(folder, _WEIGHTS)))
            for variable, value in zip(optimizer.variables, _arrays(Path(folder, _OPTIMIZER)), strict=True):
                variable.assign(value)
            progress = Progress.from_json(json.loads(Path(folder, _PROGRESS).read_text()))
        tell(StageEvent(model.name_in_registry, f"going on after epoch {progress.epoch}"))
        if progress.is_last:  # trained, and cut off before it was published
            ray.train.report(progress.as_json() | {"rank": 0.0})
        return progress

    def tell(event: StageEvent | EpochEvent | TastemakerJobsError) -> None:
        if number == 0:
            given["events"].put(event)

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
        )
    except TastemakerJobsError as error:  # all workers have it, and would have it again: nothing to retry
        tell(error)


def _shard(dataset: Any, skeleton: TrainingData) -> TrainingData:
    """A worker's users, in the order of the file whatever the order in which blocks come."""
    rows: dict[int, Sequence[Any]] = {}
    for batch in dataset.iter_batches(batch_format="pyarrow"):
        columns = [batch[name] for name in _COLUMNS]
        for place, user in enumerate(batch["user"].to_pylist()):
            rows[user] = [column[place].values.to_numpy() for column in columns]
    found = zip(*(rows[user] for user in sorted(rows)), strict=True)
    histories, weights, ratings, timestamps = map(tuple, found)
    return TrainingData(skeleton.vocabulary, histories, weights, ratings, timestamps, skeleton.features)


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


def _threads(cores: int) -> dict[str, str]:
    return {"TF_NUM_INTRAOP_THREADS": str(cores), "TF_NUM_INTEROP_THREADS": "1"}


def _arrays(path: Path) -> list[Any]:
    with np.load(path) as found:
        return [found[name] for name in found.files]


def _lost(error: Exception, workers: Workers) -> WorkerLostError:
    last = [line for line in str(error).splitlines() if line.strip()][-1].strip()
    return WorkerLostError(
        f"workers were lost {workers.retries + 1} times in the run {workers.run_id}; the last one said: {last[:300]}\n"
        "Is memory or the disk full? Submit it again with its --run-id to go on from its last checkpoint."
    )
