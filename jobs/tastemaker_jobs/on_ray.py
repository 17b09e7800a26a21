"""Training runs as Ray tasks. Only wraps `train_and_publish`: a run knows nothing of Ray.

A task whose worker dies is started again on another one. It publishes at its end and at once, so a run that died
half-way left nothing; one that died between publishing and answering is published twice, which costs a version number
and no more.
"""

import logging
import os
from collections.abc import Sequence

import ray
from ray.exceptions import RayError as UpstreamError
from ray.exceptions import RayTaskError
from ray.util.queue import Empty, Queue

from tastemaker_jobs.errors import RayStartError, TastemakerJobsError, WorkerLostError
from tastemaker_jobs.training.progress import Report
from tastemaker_jobs.training.run import TrainingRequest, TrainingResult, train_and_publish

__all__ = ["train_on_ray"]

_RETRIES = 2  # of a lost worker; an error of the run itself is not retried, as it would come again
_THREADS = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}  # what num_cpus=1 promises the other tasks


def train_on_ray(requests: Sequence[TrainingRequest], *, address: str | None, report: Report) -> list[TrainingResult]:
    """Train models side by side, one core each.

    Args:
        requests: What to train. Paths must mean the same on every node.
        address: Of a running cluster; None starts one on this machine and ends it afterwards.
        report: Told of all runs' stages and epochs.

    Raises:
        RayStartError: Ray did not start, or there is no cluster at that address.
        WorkerLostError: A worker died, and those that took its place as well.
        TastemakerJobsError: A run failed.
    """
    try:
        if address is None:
            cores = max(os.cpu_count() or 1, 1)
            ray.init("local", num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (UpstreamError, ConnectionError, OSError, RuntimeError, ValueError) as error:
        where = f"the Ray cluster at {address} cannot be reached" if address else "Ray cannot be started"
        raise RayStartError(f"{where}: {error}. --no-ray trains without it.") from error
    try:
        events = Queue(actor_options={"num_cpus": 0})
        task = ray.remote(num_cpus=1, max_retries=_RETRIES, runtime_env={"env_vars": _THREADS})(_run)
        waiting = answers = [task.remote(request, events) for request in requests]
        while waiting:
            _, waiting = ray.wait(waiting, timeout=0.2)
            _drain(events, report)
        return [ray.get(answer) for answer in answers]
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, TastemakerJobsError) else error) from None
    except UpstreamError as error:
        raise WorkerLostError(f"the Ray workers were lost {1 + _RETRIES} times: {error}. Is memory short?") from error
    finally:
        ray.shutdown()


def _run(request: TrainingRequest, events: Queue) -> TrainingResult:
    return train_and_publish(request, events.put)


def _drain(events: Queue, report: Report) -> None:
    while True:
        try:
            report(events.get_nowait())
        except Empty:
            return
