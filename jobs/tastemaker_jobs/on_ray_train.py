"""Data-parallel training with Ray Train: workers, their shards, checkpoints. What a worker does knows no Ray.

The driver writes each worker's users or images to a Parquet file, which the worker streams through Ray Data: no worker
holds more than its share. Checkpoints go to a folder or a bucket, the newest and the best are kept; who submits a run
of the same id again, after the driver or the cluster died, goes on from the newest.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import logging
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

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

from tastemaker_jobs.errors import CheckpointError, DataError, TastemakerJobsError, TooFewRatingsError, WorkerLostError
from tastemaker_jobs.evaluation.cross_validation import Fold, FoldRequest
from tastemaker_jobs.models.recommender import Judge
from tastemaker_jobs.ray_cluster import check_fits
from tastemaker_jobs.training.progress import EpochEvent, Report, StageEvent
from tastemaker_jobs.training.request import Trained, Workers

__all__ = ["FoldOnWorkers", "check_storage", "fit_on_workers"]

_ROW = "row"
_GROUP = 10_000  # rows at a time
_RUN, _WEIGHTS, _OPTIMIZER, _PROGRESS = "run.json", "weights.npz", "optimizer.npz", "progress.json"


class Shareable(Protocol):
    """Training data of N rows that can be dealt to workers."""

    unit: Any
    """What a row is, in the plural."""
    sizes: Any
    """How much work each row is, [N]."""

    def __len__(self) -> int:
        """N."""

    def columns(self, rows: Sequence[int]) -> dict[str, Any]:
        """Rows as columns of a table."""

    def without_rows(self) -> "Shareable":
        """What a worker must know besides its rows."""

    def with_columns(self, columns: Mapping[str, Sequence[pa.Scalar]]) -> "Shareable":
        """Rows out of the columns of a table."""


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
            f"{name}: {len(data)} {data.unit} cannot be shared by {workers.count} workers. Ask for fewer --workers."
        )
    storage, root = check_storage(workers.storage)
    run = f"{workers.run_id}-{name}"
    folder = f"{root}/{run}"
    _claim(storage, folder, _fingerprint(model, data, seed, workers))
    check_fits(workers.count, cores=workers.cores, gpus=int(workers.gpu))
    report(StageEvent(name, f"sharing {data.unit} among {workers.count} workers"))
    try:
        shards = _write_shards(data, workers.count, storage, f"{folder}/shards")
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


def _fingerprint(model: Any, data: Shareable, seed: int, workers: Workers) -> str:
    digest = hashlib.sha256(f"{model.name_in_registry} {model.config!r} {seed} {workers.count}".encode())
    for start in range(0, len(data), _GROUP):
        for column in data.columns(range(start, min(start + _GROUP, len(data)))).values():
            for value in column:
                content = value if isinstance(value, bytes) else np.asarray(value).tobytes()
                digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def _write_shards(data: Shareable, count: int, storage: fs.FileSystem, folder: str) -> list[str]:
    """A file for each worker: rows dealt from the one with most work, to and fro, so that all have alike."""
    order = np.lexsort([np.arange(len(data)), -data.sizes])
    storage.create_dir(folder, recursive=True)
    paths = []
    for number in range(count):
        place = np.arange(len(data)) % (2 * count)
        mine = np.sort(order[(place == number) | (place == 2 * count - 1 - number)]).tolist()
        paths.append(f"{folder}/{number}-of-{count}.parquet")
        groups = (mine[start : start + _GROUP] for start in range(0, len(mine), _GROUP))
        tables = (pa.table({_ROW: rows, **data.columns(rows)}) for rows in groups)
        first = next(tables)
        with storage.open_output_stream(paths[-1]) as stream, pq.ParquetWriter(stream, first.schema) as writer:
            for table in itertools.chain([first], tables):
                writer.write_table(table)
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
    from tastemaker_jobs.training.workers import Progress, Together, descend_together

    scale_loss = set_speed(mixed_precision=shared["mixed_precision"], xla=shared["xla"])
    context = ray.train.get_context()
    number, count = context.get_world_rank(), context.get_world_size()
    together = Together(number=number, count=count)  # first: a strategy wants TensorFlow untouched
    data = _shard(ray.train.get_dataset_shard(f"shard-{number}"), shared["skeleton"])
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
            np.savez(Path(folder, _WEIGHTS), *model.get_weights())
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
            model.set_weights(_arrays(Path(folder, _WEIGHTS)))
            for variable, value in zip(optimizer.variables, _arrays(Path(folder, _OPTIMIZER)), strict=True):
                variable.assign(value)
            progress = Progress.from_json(json.loads(Path(folder, _PROGRESS).read_text()))
        tell(StageEvent(model.name_in_registry, f"going on after epoch {progress.epoch}", is_restart=True))
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
            scale_loss=scale_loss,
        )
    except TastemakerJobsError as error:  # all workers have it, and would have it again: nothing to retry
        tell(error)


def _shard(dataset: Any, skeleton: Shareable) -> Shareable:
    """A worker's rows, in the order of the file whatever the order in which blocks come."""
    table = pa.concat_tables(dataset.iter_batches(batch_format="pyarrow", batch_size=None)).sort_by(_ROW)
    return skeleton.with_columns({name: list(table[name]) for name in table.column_names if name != _ROW})


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
