"""Plain functions as Ray tasks, side by side. Only wraps them: neither training nor cross-validation knows of Ray.

A task whose worker dies is started again on another one. A training run publishes at its end and at once, so a run that
died half-way left nothing; one that died between publishing and answering is published twice, which costs a version
number and no more.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError as UpstreamError
from ray.exceptions import RayTaskError
from ray.util.queue import Queue

from tastemaker_jobs import environment
from tastemaker_jobs.cluster_size import Asked, groups_that_fit
from tastemaker_jobs.errors import TastemakerJobsError, WorkerLostError
from tastemaker_jobs.ray_cluster import all_cores, connected, cores_of_a_node, nodes
from tastemaker_jobs.training.progress import EpochEvent, Report, StageEvent
from tastemaker_jobs.training.request import TrainingRequest, TrainingResult, Workers

__all__ = ["map_on_ray", "share_of_cores", "train_on_ray"]

Argument = TypeVar("Argument")
Answer = TypeVar("Answer")

_RETRIES = 2
_MAX_CORES = 4  # these models are small: more threads gain nothing
_PARTS_OF_A_CORE = 10_000  # Ray's finest


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
    """Call a function once for each argument, each call on its share of the cores. One that fails stops no other.

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
        share = share_of_cores(len(arguments), of_a_node=cores_of_a_node(), of_all=all_cores())
        at_once = groups_that_fit(Asked.by(workers), nodes()) if workers else len(arguments)
        task = ray.remote(num_cpus=0 if workers else share, max_retries=retries)(_run)
        try:
            answers: list[ray.ObjectRef] = []
            waiting: list[ray.ObjectRef] = []
            while waiting or len(answers) < len(arguments):
                while len(waiting) < at_once and len(answers) < len(arguments):
                    answers.append(task.remote(function, arguments[len(answers)], events, max(1, int(share))))
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


def share_of_cores(calls: int, *, of_a_node: int, of_all: int) -> float:
    """How many cores each of several equal calls asks for, so that all have their end soonest.

    Five calls on two cores, a core each, would leave one of the cores idle in the third round. Three that share the
    two, and then two with a core each, have their end sooner. It takes more memory, so that there are at most half as
    many again as cores.

    Args:
        calls: 1 or more.
        of_a_node: Cores of the smallest node.
        of_all: Cores of all nodes.

    Returns:
        A whole number, or less than 1.
    """
    rounds, left = divmod(calls, of_all)
    if not rounds or not left or 2 * left > of_all:
        return max(1, min(_MAX_CORES, of_a_node // calls))
    at_once = -(-calls // rounds)
    return math.floor(of_all / at_once * _PARTS_OF_A_CORE) / _PARTS_OF_A_CORE


def _run(function: Callable[[Any, Report], Any], argument: Any, events: Queue, cores: int) -> Any:
    # Set here, as a worker that is to start with an environment of its own starts seconds later than one that is there.
    environment.limit_threads(cores)
    environment.keep_memory()
    told: list[ray.ObjectRef] = []

    def report(event: StageEvent | EpochEvent) -> None:
        # Not `events.put`: it waits, and of a task that waits Ray gives the cores to the next one, which has them from
        # then on: all calls would soon run at once.
        told.append(events.actor.put_nowait.remote(event))

    try:
        return function(argument, report)
    finally:
        ray.get(told)  # all are there before the answer is


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
