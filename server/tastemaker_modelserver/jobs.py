"""One call's share of a run, and running several of them together.

A `Job` is what a request becomes once it is checked: a servable, the tensors to feed, what to fetch and what to make
of the result. `run_jobs` concatenates, runs once and splits; where that goes wrong each job runs alone, so that one
caller's bad input fails that caller only and no result ever differs from what the unbatched call gives.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tastemaker_modelserver.errors import CancelledCallError, DeadlineError, ServingError, as_serving_error
from tastemaker_modelserver.manager import Lease
from tastemaker_modelserver.merging import NO_PADDING, Padding, merge, split
from tastemaker_modelserver.servable import Servable
from tastemaker_modelserver.session import AT_ONCE
from tastemaker_modelserver.signatures import Grouping, Output, Rule, Signature
from tastemaker_modelserver.tensors import Array, decode

__all__ = ["Done", "Job", "Outcome", "run_jobs"]

_log = logging.getLogger(__name__)

Done = Callable[[Any, ServingError | None], None]
"""Takes a job's answer, or the error."""


class Job:
    """A checked request, ready to run."""

    __slots__ = (
        "cancelled",
        "deadline_s",
        "done",
        "enqueued_s",
        "finish",
        "grouping",
        "inputs",
        "lease",
        "model",
        "outputs",
        "rows",
        "runtime_s",
        "signature",
    )

    def __init__(
        self,
        *,
        model: str,
        lease: Lease[Servable],
        signature: Signature,
        inputs: Sequence[Any],
        outputs: tuple[Output, ...],
        finish: Callable[[list[Array]], Any],
        deadline_s: float,
    ) -> None:
        """Takes over the lease: whoever runs or drops the job releases it.

        Args:
            model: The model's name, for metrics.
            lease: The version to run.
            signature: One of that version's.
            inputs: TensorProtos in the order of `signature.inputs`.
            outputs: What to compute.
            finish: Turns the outputs' arrays, in their order, into the answer.
            deadline_s: On the `time.monotonic` clock; infinity for none.
        """
        self.model = model
        self.lease = lease
        self.signature = signature
        self.inputs = inputs
        self.outputs = outputs
        self.finish = finish
        self.deadline_s = deadline_s
        self.grouping: Grouping | None = None
        """How the job may share a run; None: it runs alone. See `group`."""
        self.rows = 1
        self.cancelled = False
        """Set when the caller went away; an unstarted job is then dropped."""
        self.enqueued_s = 0.0
        self.runtime_s = 0.0
        self.done: Done
        """Set by the executor that takes the job."""

    def group(self, rule: Rule) -> None:
        """Finds out how the job may share a run."""
        self.grouping = self.signature.grouping(self.inputs, self.outputs, rule)
        if self.grouping is not None:
            self.rows = self.grouping.rows


Outcome = tuple[list[Array], ServingError | None]
"""The outputs' arrays, or the error."""


def run_jobs(
    jobs: Sequence[Job], padding: Padding = NO_PADDING, turn: AbstractContextManager[Any] = AT_ONCE
) -> list[Outcome]:
    """Runs jobs that may share a run, and returns their outcomes in order. Never raises.

    Args:
        jobs: Of one grouping, or one.
        padding: How to pad.
        turn: Held during each run, and not while inputs are put together.
    """
    live = [job for job in jobs if _why_not(job) is None]
    results: dict[int, Outcome] = {}
    if len(live) > 1 or (live and padding.allowed_rows):
        try:
            results = _run_together(live, padding, turn)
        except Exception as error:  # a worker must outlive it; alone, each job gets its own
            _log.debug("A batch of %d calls failed, each runs alone: %s", len(live), error)
    return [results[id(job)] if id(job) in results else _run_alone(job, turn) for job in jobs]


def _run_alone(job: Job, turn: AbstractContextManager[Any]) -> Outcome:
    if (too_late := _why_not(job)) is not None:
        return [], too_late
    try:
        feeds = {
            given.tensor_name: decode(proto, given.alias)
            for given, proto in zip(job.signature.inputs, job.inputs, strict=True)
        }
        return _run([job], feeds, turn), None
    except Exception as error:
        return [], as_serving_error(error)


def _run_together(jobs: Sequence[Job], padding: Padding, turn: AbstractContextManager[Any]) -> dict[int, Outcome]:
    """One run for jobs of one grouping.

    Raises:
        ServingError: Nothing was answered: an input is damaged, the run failed, or an output does not have one row
        per row.
    """
    first = jobs[0]
    rows = [job.rows for job in jobs]
    feeds, total = merge(first.signature, [job.inputs for job in jobs], sum(rows), padding)
    shares = split(_run(jobs, feeds, turn), rows, total)
    return {id(job): (share, None) for job, share in zip(jobs, shares, strict=True)}


def _run(jobs: Sequence[Job], feeds: Mapping[str, Array], turn: AbstractContextManager[Any]) -> list[Array]:
    """One run for all; their `runtime_s` is the time after its turn had come."""
    first = jobs[0]
    arrays, runtime_s = first.lease.servable.run(
        feeds,
        [output.tensor_name for output in first.outputs],
        deadline_s=max(job.deadline_s for job in jobs),
        turn=_turn_of(jobs, turn),
    )
    for job in jobs:
        job.runtime_s = runtime_s
    return arrays


@contextmanager
def _turn_of(jobs: Sequence[Job], turn: AbstractContextManager[Any]) -> Iterator[None]:
    """The turn, for jobs one of which somebody still waits for when it comes.

    Raises:
        ServingError: Nobody does.
    """
    with turn:
        errors = [_why_not(job) for job in jobs]
        if (error := errors[0]) is not None and all(errors):
            raise error
        yield


def _why_not(job: Job) -> ServingError | None:
    """Why a job should not run any more; None when it should."""
    if job.cancelled:
        return CancelledCallError("The caller went away")
    if job.deadline_s <= time.monotonic():
        return DeadlineError("The deadline passed before the run began")
    return None
