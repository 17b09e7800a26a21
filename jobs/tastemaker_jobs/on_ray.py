"""Plain functions as Ray tasks, side by side. Only wraps them: neither training nor cross-validation knows of Ray.

A task whose worker dies is started again on another one. A training run publishes at its end and at once, so a run that
died half-way left nothing; one that died between publishing and answering is published twice, which costs a version
number and no more.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError as UpstreamError
from ray.exceptions import RayTaskError
from ray.util.queue import Queue

from tastemaker_jobs.errors import TastemakerJobsError, WorkerLostError
from tastemaker_jobs.ray_cluster import connected, cores_of_a_node, room_for
from tastemaker_jobs.training.progress import Report
from tastemaker_jobs.training.request import TrainingRequest, TrainingResult, Workers

__all__ = ["map_on_ray", "train_on_ray"]

Argument = TypeVar("Argument")
Answer = TypeVar("Answer")

_RETRIES = 2
_MAX_CORES = 4  # these models are small: more threads gain nothing


def train_on_ray(
    requests: Sequence[TrainingRequest],
    *,
    address: str | None,
    report: Report,
    retries: int = _RETRIES,
    done: Callable[[TrainingRequest, TrainingResult], None] = lambda _, __: None,
) -> list[TrainingResult]:
    """Train models side by side. See `map_on_ray`.

    Args:
        requests: What to train. Paths must mean the same on every node.
        address: Of a running cluster; None starts one on this machine and ends it afterwards.
        report: Told of all runs' stages and epochs.
        retries: How often a run starts again when its worker was lost.
        done: Told of each model's result as it comes.
    """
    return map_on_ray(_train, requests, address=address, report=report, retries=retries, done=done)


def map_on_ray(
    function: Callable[[Argument, Report], Answer],
    arguments: Sequence[Argument],
    *,
    address: str | None,
    report: Report,
    retries: int = _RETRIES,
    done: Callable[[Argument, Answer], None] = lambda _, __: None,
    workers: Workers | None = None,
) -> list[Answer]:
    """Call a function once for each argument, each call on its share of a node's cores. One that fails stops no other.

    Args:
        function: A module's own, so that it travels by name. What is heavy it imports itself.
        arguments: Small, and pickleable.
        address: Of a running cluster; None starts one on this machine and ends it afterwards.
        report: Told of all calls' stages and epochs.
        retries: How often a call starts again when its worker was lost. An error of its own would only come again.
        done: Told of each answer as it comes, with its argument.
        workers: Whom each call asks for by itself; it takes no cores, and as many calls run as there is room for.

    Returns:
        The answers, in the order of the arguments.

    Raises:
        RayStartError: Ray did not start, or there is no cluster at that address.
        WorkerLostError: A worker died, and those that took its place as well.
        TastemakerJobsError: A call failed; the others had their end first.
    """
    with connected(address, spare_cores=1 if workers else 0):
        events = Queue(actor_options={"num_cpus": 0})
        cores = max(1, min(_MAX_CORES, cores_of_a_node() // len(arguments)))
        at_once = room_for(workers.count, cores=workers.cores, gpus=int(workers.gpu)) if workers else len(arguments)
        # A call keeps to the cores that it asked for: with more threads than that, calls only wait for each other.
        variables = {"TF_NUM_INTRAOP_THREADS": str(cores), "TF_NUM_INTEROP_THREADS": str(cores)}
        task = ray.remote(num_cpus=0 if workers else cores, max_retries=retries, runtime_env={"env_vars": variables})(
            _run
        )
        try:
            answers: list[ray.ObjectRef] = []
            waiting: list[ray.ObjectRef] = []
            while waiting or len(answers) < len(arguments):
                while len(waiting) < at_once and len(answers) < len(arguments):
                    answers.append(task.remote(function, arguments[len(answers)], events))
                    waiting.append(answers[-1])
                ready, waiting = ray.wait(waiting, timeout=0.2)
                _drain(events, report)
                for answer in ready:
                    _tell(answer, arguments[answers.index(answer)], done)
            return [ray.get(answer) for answer in answers]
        except RayTaskError as error:
            raise (error.cause if isinstance(error.cause, TastemakerJobsError) else error) from None
        except UpstreamError as error:
            text = f"a Ray worker was lost {1 + retries} times ({type(error).__name__}). Is memory short?"
            raise WorkerLostError(text) from error


def _run(function: Callable[[Any, Report], Any], argument: Any, events: Queue) -> Any:
    return function(argument, events.put)


def _train(request: TrainingRequest, report: Report) -> TrainingResult:
    from tastemaker_jobs.training.run import train_and_publish  # here, so that TensorFlow is in the worker alone

    return train_and_publish(request, report)


def _tell(answer: ray.ObjectRef, argument: Any, done: Callable[[Any, Any], None]) -> None:
    """Errors come up once all have ended."""
    try:
        found = ray.get(answer)
    except (RayTaskError, UpstreamError):
        return
    done(argument, found)


def _drain(events: Queue, report: Report) -> None:
    while not events.empty():  # an exception from an actor costs milliseconds, five times a second
        report(events.get_nowait())
