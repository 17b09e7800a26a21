"""What a running job tells Prometheus: how far it is, how fast, how well, what was begun again.

`docs/metrics.md` has the names. What a cluster does underneath, Ray tells by itself.
"""

import contextlib
import math
from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)

from tastemaker_jobs.errors import TrackingError
from tastemaker_jobs.precompute.progress import ShardEvent
from tastemaker_jobs.training.progress import EpochEvent, StageEvent

__all__ = ["JobMetrics", "exposed"]


class JobMetrics:
    """Counts what a command's listeners are told."""

    def __init__(self, *, registry: CollectorRegistry, command: str) -> None:
        self._command = command
        part, task = ("command", "part"), ("task",)
        self._parts = Gauge("tastemaker_jobs_parts", "Parts that the command has.", part, registry=registry)
        self._parts_done = Gauge("tastemaker_jobs_parts_done", "Parts that are finished.", part, registry=registry)
        self._restarts = Counter(
            "tastemaker_jobs_restarts", "Times a task went on after it was lost.", task, registry=registry
        )
        self._epoch = Gauge("tastemaker_jobs_epoch", "The last epoch that ended.", task, registry=registry)
        self._epochs = Gauge("tastemaker_jobs_epochs", "How many epochs there are at most.", task, registry=registry)
        self._loss = Gauge("tastemaker_jobs_loss", "Mean training loss of the last epoch.", task, registry=registry)
        self._validation = Gauge(
            "tastemaker_jobs_validation",
            "What the last epoch was worth on the validation items.",
            ("task", "measure"),
            registry=registry,
        )
        self._seconds = Gauge("tastemaker_jobs_epoch_seconds", "How long the last epoch took.", task, registry=registry)
        self._examples = Counter("tastemaker_jobs_examples", "Examples that were learnt from.", task, registry=registry)
        self._rate = Gauge(
            "tastemaker_jobs_examples_per_second", "The last epoch's examples per second.", task, registry=registry
        )
        self._lists = Counter(
            "tastemaker_jobs_lists", "Lists in finished shards.", ("lists", "origin"), registry=registry
        )

    def parts(self, part: str, done: int, total: int) -> None:
        """So many of a command's models, folds or shards are finished."""
        self._parts.labels(self._command, part).set(total)
        self._parts_done.labels(self._command, part).set(done)

    def told(self, event: StageEvent | EpochEvent) -> None:
        """A listener to training."""
        task = event.model
        restarts = self._restarts.labels(task)
        if isinstance(event, StageEvent):
            restarts.inc(event.is_restart)
            return
        self._epoch.labels(task).set(event.epoch)
        self._epochs.labels(task).set(event.epochs)
        self._loss.labels(task).set(event.loss)
        if not math.isnan(event.valid_ndcg):
            self._validation.labels(task, event.measure).set(event.valid_ndcg)
        self._seconds.labels(task).set(event.seconds)
        self._examples.labels(task).inc(event.examples)
        self._rate.labels(task).set(event.examples / event.seconds if event.seconds else 0.0)

    def shard(self, event: ShardEvent) -> None:
        """A listener to precompute."""
        self.parts("shard", event.done, event.shards)
        self._lists.labels(event.name, "computed").inc(event.computed)
        self._lists.labels(event.name, "carried").inc(event.carried)
        self._restarts.labels(event.name).inc(event.retries)


@contextlib.contextmanager
def exposed(address: str | None, command: str) -> Iterator[JobMetrics]:
    """Metrics of a command, which Prometheus can read while the block runs.

    Args:
        address: host:port of an HTTP server; None for none.
        command: Its name.

    Raises:
        TrackingError: The address cannot be listened on.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    metrics = JobMetrics(registry=registry, command=command)
    if address is None:
        yield metrics
        return
    host, _, port = address.rpartition(":")
    disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        raise TrackingError(
            f"--metrics-address {address} cannot be listened on: {error.strerror}. Name another."
        ) from error
    try:
        yield metrics
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
