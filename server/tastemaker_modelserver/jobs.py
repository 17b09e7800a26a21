"""One call's share of a run, and running several of them together.

A `Job` is what a request becomes once it is checked: a servable, the tensors to feed, what to fetch and what to make
of the result. `run_jobs` concatenates, runs once and splits; where that goes wrong each job runs alone, so that one
caller's bad input fails that caller only and no result ever differs from what the unbatched call gives.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from tastemaker_modelserver.errors import CancelledCallError, DeadlineError, ServingError, as_serving_error
from tastemaker_modelserver.manager import Lease
from tastemaker_modelserver.merging import NO_PADDING, Padding, merge, split
from tastemaker_modelserver.servable import Servable
from tastemaker_modelserver.signatures import Grouping, Output, Rule, Signature
from tastemaker_modelserver.tensors import Array, decode

__all__ = ["Job", "Outcome", "run_jobs"]

_log = logging.getLogger(__name__)


class Job:
    """A checked request, ready to run."""

    __slots__ = (
        "cancelled",
        "deadline_s",
        "enqueued_s",
        "finish",
        "grouping",
        "inputs",
        "lease",
        "model",
        "outputs",
        "reply",
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
            finish: Turns the outputs' arrays, in their order, into the answer; runs in the worker.
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
        self.reply: Any = None
        """Whatever the executor needs to answer."""

    def group(self, rule: Rule) -> None:
        """Finds out how the job may share a run."""
        self.grouping = self.signature.grouping(self.inputs, self.outputs, rule)
        if self.grouping is not None:
            self.rows = self.grouping.rows


Outcome = tuple[Any, ServingError | None]
"""The answer, or the error."""


def run_jobs(jobs: Sequence[Job], padding: Padding = NO_PADDING) -> list[Outcome]:
    """Runs jobs that may share a run, and returns their outcomes in order. Never raises."""
    live = [job for job in jobs if not job.cancelled and job.deadline_s > time.monotonic()]
    results: dict[int, Outcome] = {}
    if len(live) > 1 or (live and padding.allowed_rows):
        try:
            results = _run_together(live, padding)
        except Exception as error:  # a worker must outlive it; alone, each job gets its own
            _log.debug("A batch of %d calls failed, each runs alone: %s", len(live), error)
    return [results[id(job)] if id(job) in results else _run_alone(job) for job in jobs]


def _run_alone(job: Job) -> Outcome:
    if job.cancelled:
        return None, CancelledCallError("The caller went away")
    if job.deadline_s <= time.monotonic():
        return None, DeadlineError("The deadline passed before the run began")
    try:
        feeds = {
            given.tensor_name: decode(proto, given.alias)
            for given, proto in zip(job.signature.inputs, job.inputs, strict=True)
        }
        started = time.monotonic()
        arrays = job.lease.servable.run(
            feeds, [output.tensor_name for output in job.outputs], deadline_s=job.deadline_s
        )
        job.runtime_s = time.monotonic() - started
        return job.finish(arrays), None
    except Exception as error:
        return None, as_serving_error(error)


def _run_together(jobs: Sequence[Job], padding: Padding) -> dict[int, Outcome]:
    """One run for jobs of one grouping.

    Raises:
        ServingError: Nothing was answered: an input is damaged, the run failed, or an output does not have one row
        per row.
    """
    first = jobs[0]
    rows = [job.rows for job in jobs]
    feeds, total = merge(first.signature, [job.inputs for job in jobs], sum(rows), padding)
    started = time.monotonic()
    arrays = first.lease.servable.run(
        feeds, [output.tensor_name for output in first.outputs], deadline_s=max(job.deadline_s for job in jobs)
    )
    runtime_s = time.monotonic() - started
    outcomes: dict[int, Outcome] = {}
    for job, share in zip(jobs, split(arrays, rows, total), strict=True):
        job.runtime_s = runtime_s
        try:
            outcomes[id(job)] = job.finish(share), None
        except Exception as error:
            outcomes[id(job)] = None, as_serving_error(error)
    return outcomes
