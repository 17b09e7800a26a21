"""Counters and histograms without locks show what the Prometheus client's own would."""

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest

from tastemaker_server.metrics.unlocked import Counts, Histograms

_BOUNDS = (0.001, 0.01, 1.0)
_OBSERVED = (0.0, 0.001, 0.0011, 0.01, 0.5, 1.0, 1.5, 40.0)


def test_what_is_shown_is_what_the_client_shows() -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call]
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    counter = Counter("calls", "Calls.", ("method", "code"), registry=theirs)
    counts = Counts("calls", "Calls.", ("method", "code"), registry=ours)
    histogram = Histogram("took_seconds", "Time.", ("method",), buckets=_BOUNDS, registry=theirs)
    histograms = Histograms("took_seconds", "Time.", ("method",), bounds=_BOUNDS, registry=ours)
    counter.labels("a", "OK")
    counts.labels("a", "OK")
    for times in (1, 2):
        counter.labels("a", "NO").inc(times)
        counts.labels("a", "NO").value += times
    for value in _OBSERVED:
        histogram.labels("a").observe(value)
        histograms.labels("a").observe(value)
    assert generate_latest(ours).decode() == generate_latest(theirs).decode()
