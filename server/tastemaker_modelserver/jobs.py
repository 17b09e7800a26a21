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
from tastemaker_modelserver.session import Run
from tastemaker_modelserver.signatures import Grouping, Output, Rule, Signature
from tastemaker_modelserver.tensors import Array, decode

__all__ = ["Done", "Job", "Outcome", "SharedRun", "run_jobs"]

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


class SharedRun:
    """Jobs on their way through one run: made ready, run, and split again, each perhaps by another thread."""

    def __init__(self, jobs: Sequence[Job], padding: Padding = NO_PADDING) -> None:
        """Puts the inputs together and makes the tensors. Never raises.

        Args:
            jobs: Of one grouping, or one.
            padding: How to pad.
        """
        self._jobs = jobs
        self._live = [job for job in jobs if _why_not(job) is None]
        self._is_shared = len(self._live) > 1 or bool(padding.allowed_rows)
        self._rows = [job.rows for job in self._live]
        self._total = 0
        self._run: Run | None = None
        self._error: Exception | None = None
        if self._live:
            try:
                self._run = self._prepared(padding)
            except Exception as error:
                self._error = error

    def run(self) -> None:
        """Runs the graph, for jobs one of which somebody still waits for. Never raises."""
        if self._run is None:
            return
        reasons = [_why_not(job) for job in self._live]
        if all(reasons):
            self._error = reasons[0]
            return
        try:
            self._live[0].lease.servable.run(self._run, deadline_s=max(job.deadline_s for job in self._live))
        except Exception as error:
            self._error = error
        for job in self._live:
            job.runtime_s = self._run.seconds

    def outcomes(self) -> list[Outcome]:
        """The jobs' outcomes, in order, and the end of the run: its memory is freed. Never raises.

        Where the shared run went wrong each job runs alone, here, so that one caller's bad input fails that caller
        only.
        """
        shares: list[list[Array]] = []
        if self._run is not None:
            try:
                if self._error is None:
                    shares = self._shares(self._run.arrays())
            except Exception as error:
                self._error = error
            self._run.close()
        if self._is_shared and self._error is not None:
            _log.debug("A batch of %d calls failed, each runs alone: %s", len(self._live), self._error)
        found = {id(job): (share, None) for job, share in zip(self._live, shares, strict=False)}
        return [found.get(id(job)) or self._without_share(job) for job in self._jobs]

    def _prepared(self, padding: Padding) -> Run:
        first = self._live[0]
        if self._is_shared:
            inputs = [job.inputs for job in self._live]
            feeds, self._total = merge(first.signature, inputs, sum(self._rows), padding)
        else:
            feeds = {
                given.tensor_name: decode(proto, given.alias)
                for given, proto in zip(first.signature.inputs, first.inputs, strict=True)
            }
        return first.lease.servable.prepare(feeds, [output.tensor_name for output in first.outputs])

    def _shares(self, arrays: list[Array]) -> list[list[Array]]:
        return split(arrays, self._rows, self._total) if self._is_shared else [arrays]

    def _without_share(self, job: Job) -> Outcome:
        if (too_late := _why_not(job)) is not None:
            return [], too_late
        if self._is_shared or self._error is None:
            return run_jobs([job])[0]
        return [], as_serving_error(self._error)


def run_jobs(jobs: Sequence[Job], padding: Padding = NO_PADDING) -> list[Outcome]:
    """Runs jobs that may share a run at once, and returns their outcomes in order. Never raises.

    Args:
        jobs: Of one grouping, or one.
        padding: How to pad.
    """
    run = SharedRun(jobs, padding)
    run.run()
    return run.outcomes()


def _why_not(job: Job) -> ServingError | None:
    """Why a job should not run any more; None when it should."""
    if job.cancelled:
        return CancelledCallError("The caller went away")
    if job.deadline_s <= time.monotonic():
        return DeadlineError("The deadline passed before the run began")
    return None
