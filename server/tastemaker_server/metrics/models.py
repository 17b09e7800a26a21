"""Answers of the model server: how long they took, which version gave them, and why there was none."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram

from tastemaker_server.metrics.buckets import LATENCY_SECONDS

__all__ = ["BROKEN_ANSWER", "ModelMetrics"]

BROKEN_ANSWER = "BROKEN_ANSWER"
"""The reason of a failure where the model server answered, and not what it should."""

_MOST_VERSIONS = 8
"""Of a model: a front that runs for a year sees hundreds, and nobody asks for the first ones any more."""


class ModelMetrics:
    """Counts the front's calls to the model server."""

    def __init__(self, *, registry: CollectorRegistry, models: Iterable[str]) -> None:
        """Takes the models' names, which are all that will ever be asked."""
        self._answers = Counter(
            "tastemaker_front_model_answers",
            "Answers of the model server, by the version that gave them.",
            ("model", "version"),
            registry=registry,
        )
        self._failures = Counter(
            "tastemaker_front_model_failures",
            "Calls to the model server that gave no ranking, by the reason.",
            ("model", "reason"),
            registry=registry,
        )
        seconds = Histogram(
            "tastemaker_front_model_seconds",
            "How long the model server took, with and without an answer.",
            ("model",),
            buckets=LATENCY_SECONDS,
            registry=registry,
        )
        self._seconds = {model: seconds.labels(model) for model in models}
        self._versions: dict[str, dict[int, Counter]] = {model: {} for model in self._seconds}

    def answered(self, model: str, version: int, seconds: float) -> None:
        """Counts a ranking.

        Args:
            model: Its name.
            version: Which version of it the answer names; 0 for none.
            seconds: How long it took.
        """
        self._seconds[model].observe(seconds)
        versions = self._versions[model]
        answers = versions.get(version)
        if answers is None:
            if len(versions) == _MOST_VERSIONS:
                oldest = next(iter(versions))
                del versions[oldest]
                self._answers.remove(model, str(oldest))
            answers = versions[version] = self._answers.labels(model, str(version))
        answers.inc()

    def failed(self, model: str, reason: str, seconds: float) -> None:
        """Counts a call without a ranking.

        Args:
            model: Its name.
            reason: The name of a gRPC status, or `BROKEN_ANSWER`.
            seconds: How long it took.
        """
        self._seconds[model].observe(seconds)
        self._failures.labels(model, reason).inc()
