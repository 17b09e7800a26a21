"""Counters and histograms that one thread changes, the event loop's, and a scrape reads from another.

The client's own take a lock at each change and walk through the bounds of a histogram: several microseconds of every
call, of which nobody needs a thing where one thread does all the counting. They are shown in the same form.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

__all__ = ["Count", "Counts", "Histogram", "Histograms"]

_Child = TypeVar("_Child")


class Count:
    """A number, changed as it stands: `count.value += 1`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Histogram:
    """Observations, sorted by upper bounds."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """How many observations lie at or below each bound and above the one before; the last is above them all."""
        self.total = 0.0
        """The sum of the observations."""

    def observe(self, value: float) -> None:
        """Adds an observation."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class _Children(Generic[_Child]):
    """What has been counted so far, by the labels' values."""

    def __init__(self, make: Callable[[], _Child]) -> None:
        self._make = make
        self._children: dict[tuple[str, ...], _Child] = {}

    def labels(self, *values: str) -> _Child:
        """Returns what is counted under these labels' values, which from then on is shown."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._make()
        return child

    def shown(self) -> Iterator[tuple[tuple[str, ...], _Child]]:
        """A copy in one step: the event loop may add to it meanwhile."""
        return iter(list(self._children.items()))


class Counts(_Children[Count], Collector):
    """A Prometheus counter with labels."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], *, registry: CollectorRegistry) -> None:
        super().__init__(Count)
        self._new_family = partial(CounterMetricFamily, name, documentation, labels=labels)
        registry.register(self)

    def describe(self) -> list[CounterMetricFamily]:
        """The name, for the registry."""
        return [self._new_family()]

    def collect(self) -> list[CounterMetricFamily]:
        """The numbers now. From any thread."""
        family = self._new_family()
        for values, count in self.shown():
            family.add_metric(values, count.value)
        return [family]


class Histograms(_Children[Histogram], Collector):
    """A Prometheus histogram with labels."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        *,
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        super().__init__(lambda: Histogram(bounds))
        self._new_family = partial(HistogramMetricFamily, name, documentation, labels=labels)
        self._bounds = [*map(str, bounds), "+Inf"]
        registry.register(self)

    def describe(self) -> list[HistogramMetricFamily]:
        """The name, for the registry."""
        return [self._new_family()]

    def collect(self) -> list[HistogramMetricFamily]:
        """The observations so far. From any thread."""
        family = self._new_family()
        for values, histogram in self.shown():
            cumulative = accumulate(list(histogram.counts))
            family.add_metric(values, list(zip(self._bounds, cumulative, strict=True)), histogram.total)
        return [family]
