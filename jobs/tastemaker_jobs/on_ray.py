"""Training runs as Ray tasks. Only wraps `train_and_publish`: a run knows nothing of Ray.

A task whose worker dies is started again on another one. It publishes at its end and at once, so a run that died
half-way left nothing; one that died between publishing and answering is published twice, which costs a version number
and no more.
"""

from collections.abc import Sequence

import ray
from ray.exceptions import RayError as UpstreamError
from ray.exceptions import RayTaskError
from ray.util.queue import Empty, Queue

from tastemaker_jobs.errors import TastemakerJobsError, WorkerLostError
from tastemaker_jobs.ray_cluster import connected, cores_of_a_node
from tastemaker_jobs.training.progress import Report
from tastemaker_jobs.training.request import TrainingRequest, TrainingResult

__all__ = ["train_on_ray"]

_RETRIES = 2
_MAX_CORES = 4  # these models are small: more threads gain nothing


def train_on_ray(
    requests: Sequence[TrainingRequest], *, address: str | None, report: Report, retries: int = _RETRIES
) -> list[TrainingResult]:
    """Train models side by side, each on its share of a node's cores. One that fails does not stop the others.

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
    with connected(address):
        events = Queue(actor_options={"num_cpus": 0})
        cores = max(1, min(_MAX_CORES, cores_of_a_node() // len(requests)))
        # On a shared cluster a run keeps to what it asked for. On a Ray of our own, a run may use what the others leave
        # idle.
        variables = {"TF_NUM_INTRAOP_THREADS": str(cores), "TF_NUM_INTEROP_THREADS": "1"} if address else {}
        task = ray.remote(num_cpus=cores, max_retries=retries, runtime_env={"env_vars": variables})(_run)
        try:
            waiting = answers = [task.remote(request, events) for request in requests]
            while waiting:
                _, waiting = ray.wait(waiting, timeout=0.2)
                _drain(events, report)
            return [ray.get(answer) for answer in answers]
        except RayTaskError as error:
            raise (error.cause if isinstance(error.cause, TastemakerJobsError) else error) from None
        except UpstreamError as error:
            text = f"a Ray worker was lost {1 + retries} times ({type(error).__name__}). Is memory short?"
            raise WorkerLostError(text) from error


def _run(request: TrainingRequest, events: Queue) -> TrainingResult:
    from tastemaker_jobs.training.run import train_and_publish  # here, so that TensorFlow is in the worker alone

    return train_and_publish(request, events.put)


def _drain(events: Queue, report: Report) -> None:
    while True:
        try:
            report(events.get_nowait())
        except Empty:
            return
