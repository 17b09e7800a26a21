"""Training runs as Ray tasks. Only wraps `train_and_publish`: a run knows nothing of Ray.

A task whose worker dies is started again on another one. It publishes at its end and at once, so a run that died
half-way left nothing; one that died between publishing and answering is published twice, which costs a version number
and no more.
"""

import logging
from collections.abc import Sequence

import ray
from ray.exceptions import RayError as UpstreamError
from ray.exceptions import RayTaskError
from ray.util.queue import Empty, Queue

from tastemaker_jobs.errors import RayStartError, TastemakerJobsError, WorkerLostError
from tastemaker_jobs.training.progress import Report
from tastemaker_jobs.training.request import TrainingRequest, TrainingResult

__all__ = ["train_on_ray"]

_RETRIES = 2
_MAX_CORES = 4  # these models are small: more threads gain nothing


def train_on_ray(
    requests: Sequence[TrainingRequest], *, address: str | None, report: Report, retries: int = _RETRIES
) -> list[TrainingResult]:
    """Train models side by side, each on its share of a node's cores.

    Args:
        requests: What to train. Paths must mean the same on every node.
        address: Of a running cluster; None starts one on this machine and ends it afterwards.
        report: Told of all runs' stages and epochs.
        retries: How often a run starts again when its worker was lost. An error of its own would only come again.

    Raises:
        RayStartError: Ray did not start, or there is no cluster at that address.
        WorkerLostError: A worker died, and those that took its place as well.
        TastemakerJobsError: A run failed.
    """
    try:
        if address is None:
            ray.init("local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (UpstreamError, ConnectionError, OSError, RuntimeError, ValueError) as error:
        where = f"the Ray cluster at {address} cannot be reached" if address else "Ray cannot be started"
        raise RayStartError(f"{where}: {error}. --no-ray trains without it.") from error
    try:
        events = Queue(actor_options={"num_cpus": 0})
        cores = max(1, _cores_of_a_node() // len(requests))
        threads = {"TF_NUM_INTRAOP_THREADS": str(cores), "TF_NUM_INTEROP_THREADS": "1"}  # what num_cpus promises others
        task = ray.remote(num_cpus=cores, max_retries=retries, runtime_env={"env_vars": threads})(_run)
        waiting = answers = [task.remote(request, events) for request in requests]
        while waiting:
            _, waiting = ray.wait(waiting, timeout=0.2)
            _drain(events, report)
        return [ray.get(answer) for answer in answers]
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, TastemakerJobsError) else error) from None
    except UpstreamError as error:
        raise WorkerLostError(
            f"a Ray worker was lost {1 + retries} times ({type(error).__name__}). Is memory short?"
        ) from error
    finally:
        ray.shutdown()


def _run(request: TrainingRequest, events: Queue) -> TrainingResult:
    from tastemaker_jobs.training.run import train_and_publish  # here, so that TensorFlow is in the worker alone

    return train_and_publish(request, events.put)


def _cores_of_a_node() -> int:
    """Of the smallest node that computes, so that a task fits on any of them."""
    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    return min([_MAX_CORES, *(count for count in cores if count)])


def _drain(events: Queue, report: Report) -> None:
    while True:
        try:
            report(events.get_nowait())
        except Empty:
            return
