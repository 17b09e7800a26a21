"""Counters and histograms under TensorFlow Serving's names, and the Prometheus page of them.

TensorFlow Serving's names begin with a colon and its counters do not end in `_total`; a page from the usual
Prometheus client would rename them and break every existing dashboard, so the few lines of the text format are
written here.
"""

import bisect
import threading
from collections.abc import Iterator, Sequence

__all__ = ["Counter", "Gauge", "Histogram", "Metrics"]


def _exponential(scale: float, growth: float, count: int) -> tuple[float, ...]:
    """`count` - 1 bucket limits: scale, scale * growth, …; the last bucket is open."""
    return tuple(scale * growth**power for power in range(count - 1))


_LATENCY_US = _exponential(10, 1.8, 33)


class Counter:
    """A number per label values that only grows."""

    kind = "counter"

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        self.name = name
        self.labels = tuple(labels)
        self._lock = threading.Lock()
        self._cells: dict[tuple[str, ...], float] = {}

    def add(self, *labels: str, by: float = 1) -> None:
        """Counts `by` more."""
        with self._lock:
            self._cells[labels] = self._cells.get(labels, 0) + by

    def value(self, *labels: str) -> float:
        """The count so far; the sum over all cells without labels."""
        with self._lock:
            return self._cells.get(labels, 0) if labels else sum(self._cells.values())

    def lines(self) -> Iterator[str]:
        """The samples in Prometheus' text format."""
        with self._lock:
            cells = dict(self._cells)
        for labels, value in cells.items():
            yield f"{self.name}{{{_pairs(self.labels, labels)}}} {value:.0f}"


class Gauge(Counter):
    """A number per label values that goes up and down."""

    kind = "gauge"

    def set(self, value: float, *labels: str) -> None:
        """Replaces the number."""
        with self._lock:
            self._cells[labels] = value

    def remove(self, *labels: str) -> None:
        """Forgets the number, if there is one."""
        with self._lock:
            self._cells.pop(labels, None)


class Histogram:
    """A distribution per label values."""

    kind = "histogram"

    def __init__(self, name: str, labels: Sequence[str], limits: Sequence[float] = _LATENCY_US) -> None:
        self.name = name
        self.labels = tuple(labels)
        self._limits = tuple(limits)
        self._lock = threading.Lock()
        self._cells: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Adds one observation."""
        with self._lock:
            cell = self._cells.get(labels)
            if cell is None:
                cell = self._cells[labels] = ([0] * (len(self._limits) + 1), [0.0])
            cell[0][bisect.bisect_right(self._limits, value)] += 1
            cell[1][0] += value

    def count(self, *labels: str) -> int:
        """The number of observations."""
        with self._lock:
            return sum(self._cells[labels][0]) if labels in self._cells else 0

    def lines(self) -> Iterator[str]:
        """The samples in Prometheus' text format."""
        with self._lock:
            cells = {labels: (list(buckets), total[0]) for labels, (buckets, total) in self._cells.items()}
        for labels, (buckets, total) in cells.items():
            pairs = _pairs(self.labels, labels)
            comma = "," if pairs else ""
            running = 0
            for limit, amount in zip([*(f"{limit:g}" for limit in self._limits), "+Inf"], buckets, strict=True):
                running += amount
                yield f'{self.name}_bucket{{{pairs}{comma}le="{limit}"}} {running}'
            yield f"{self.name}_sum{{{pairs}}} {total:g}"
            yield f"{self.name}_count{{{pairs}}} {running}"


class Metrics:
    """Every metric of the process. Latencies are in microseconds, as in TensorFlow Serving."""

    def __init__(self) -> None:
        prefix = ":tensorflow:serving:"
        self.request_count = Counter(f"{prefix}request_count", ["model_name", "status"])
        self.request_latency = Histogram(f"{prefix}request_latency", ["model_name", "API", "entrypoint"])
        self.runtime_latency = Histogram(f"{prefix}runtime_latency", ["model_name", "API", "runtime"])
        self.example_counts = Histogram(f"{prefix}request_example_counts", ["model"], _exponential(1, 2, 15))
        self.example_count_total = Counter(f"{prefix}request_example_count_total", ["model"])
        self.warmup_latency = Histogram(f"{prefix}model_warmup_latency", ["model_path", "status"])
        self.warmup_records_read = Counter(f"{prefix}model_warmup_records_read", ["model_path", "status"])
        self.queuing_latency = Histogram(
            f"{prefix}batching_session:queuing_latency", ["thread_pool_name"], _exponential(100, 1.2, 52)
        )
        self.wrapped_run_count = Counter(f"{prefix}batching_session:wrapped_run_count", [])
        # Not in TensorFlow Serving (tensorflow/serving#1970 asks for some): per version and signature, how batches
        # fill, how far each version is (State's numbers), and who waits for a thread.
        own = ":tastemaker:modelserver:"
        self.version_request_count = Counter(
            f"{own}request_count", ["model_name", "version", "signature_name", "API", "status"]
        )
        self.version_request_latency = Histogram(
            f"{own}request_latency", ["model_name", "version", "signature_name", "API"]
        )
        self.batch_rows = Histogram(f"{own}batch_rows", ["model_name", "version"], _exponential(1, 2, 12))
        self.version_state = Gauge(f"{own}version_state", ["model_name", "version"])
        self.calls_waiting = Gauge(f"{own}calls_waiting", ["thread_pool_name"])
        self.batches_running = Gauge(f"{own}batches_running", ["thread_pool_name"])
        self.threads = Gauge(f"{own}threads", ["thread_pool_name"])

    def all(self) -> list[Counter | Histogram]:
        """Every metric, in the order of the page."""
        return [metric for metric in vars(self).values() if isinstance(metric, Counter | Histogram)]

    def total(self, name: str) -> int:
        """The sum of a counter over its labels, by TensorFlow Serving's own name for it; 0 for an unknown one."""
        wanted = name.replace("/", ":")
        return next(
            (int(metric.value()) for metric in self.all() if isinstance(metric, Counter) and metric.name == wanted), 0
        )

    def page(self) -> str:
        """The Prometheus page."""
        lines: list[str] = []
        for metric in self.all():
            lines.append(f"# TYPE {metric.name} {metric.kind}")
            lines += metric.lines()
        return "\n".join(lines) + "\n"


def _pairs(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
