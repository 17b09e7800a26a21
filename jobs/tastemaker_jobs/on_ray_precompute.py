"""The steps of precompute on Ray Data: tasks for what needs no model, a pool of actors that each hold it once.

Only wraps plain functions, which write what they make to files in one step each: a task or an actor that is killed is
started again and does its part again. What travels between them is a number out and a small record back.
"""

import logging
import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import ray
import ray.data
from ray.exceptions import RayError as UpstreamError
from ray.exceptions import RayTaskError

from tastemaker_jobs.cluster_size import Asked, check_fits
from tastemaker_jobs.errors import TastemakerJobsError, WorkerLostError
from tastemaker_jobs.ray_cluster import nodes

__all__ = ["OnRay", "workers_that_fit"]

Argument = TypeVar("Argument")
Answer = TypeVar("Answer")


class OnRay:
    """Ray must be connected."""

    def __init__(self, *, workers: int, gpu: bool) -> None:
        """See that the cluster has room.

        Args:
            workers: How many actors hold the model, a core each.
            gpu: Whether each has a GPU.

        Raises:
            ClusterTooSmallError: It has not.
        """
        check_fits(Asked(workers, gpu=gpu), nodes())
        self._workers, self._gpu = workers, gpu
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # else it says that it shows no bars
        ray.data.DataContext.get_current().enable_progress_bars = False

    def each(self, function: Callable[[Argument], Answer], arguments: Iterable[Argument]) -> Iterator[Answer]:
        """See `Steps.each`."""
        rows = _rows(arguments)
        if not rows:
            return iter(())
        return _answers(ray.data.from_items(rows, override_num_blocks=len(rows)).map(_task, fn_args=[function]))

    def with_model(
        self,
        before: Callable[[Argument], Argument],
        load: Callable[[], Callable[[Argument], Answer]],
        arguments: Iterable[Argument],
    ) -> Iterator[Answer]:
        """See `Steps.with_model`."""
        rows = _rows(arguments)
        if not rows:
            return iter(())
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
        # Reading goes ahead of scoring anyway, so a few tasks do, and leave the cores to those who score.
        dataset = dataset.map(_task, fn_args=[before], compute=ray.data.TaskPoolStrategy(size=1 + self._workers // 4))
        dataset = dataset.map(
            _Actor,
            fn_constructor_args=[load],
            compute=ray.data.ActorPoolStrategy(size=min(self._workers, len(rows))),
            num_cpus=1,
            num_gpus=int(self._gpu) or None,
            runtime_env={"env_vars": {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}},
        )
        return _answers(dataset)


def workers_that_fit(*, gpu: bool) -> int:
    """As many as the connected cluster has cores, one left to read data; or GPUs. 1 or more."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if gpu:
        return max(1, sum(min(int(node.get("GPU", 0)), int(node.get("CPU", 0))) for node in nodes))
    return max(1, sum(int(node.get("CPU", 0)) for node in nodes) - 1)


def _task(row: dict[str, Any], function: Callable[[Any], Any]) -> dict[str, Any]:
    """Errors of our own are answers, so that Ray does not try again what would fail again."""
    if not row["is_well"]:
        return row
    try:
        return {"value": pickle.dumps(function(pickle.loads(row["value"]))), "is_well": True}  # noqa: S301  # our own
    except TastemakerJobsError as error:
        return {"value": pickle.dumps(error), "is_well": False}


class _Actor:
    """The same with a function that is made at the first call, so that an error of making it is an answer too."""

    def __init__(self, load: Callable[[], Callable[[Any], Any]]) -> None:
        self._load = load
        self._function: Callable[[Any], Any] | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return _task(row, self._call)

    def _call(self, argument: Any) -> Any:
        if self._function is None:
            self._function = self._load()
        return self._function(argument)


def _rows(arguments: Iterable[Any]) -> list[dict[str, Any]]:
    return [{"value": pickle.dumps(argument), "is_well": True} for argument in arguments]


def _answers(dataset: Any) -> Iterator[Any]:
    """Each as it comes.

    Raises:
        TastemakerJobsError: The first that a function raised.
        WorkerLostError: A worker died, and those that took its place as well.
    """
    try:
        for row in dataset.iter_rows():
            answer = pickle.loads(row["value"])  # noqa: S301  # our own
            if not row["is_well"]:
                raise answer
            yield answer
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, TastemakerJobsError) else error) from None
    except UpstreamError as error:
        raise WorkerLostError(
            f"Ray workers were lost ({type(error).__name__}). Is memory short? Then give a smaller --batch-size or more"
            " --shards. The same command again goes on with the shards that are left."
        ) from error
