"""How long the event loop keeps others waiting: what a call waits before its first line runs.

A front is one event loop, so this grows before anything else does when one process has too much to do.
"""

import asyncio
import contextlib
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Histogram

from tastemaker_server.metrics.buckets import LATENCY_SECONDS

__all__ = ["LoopDelayMetrics"]

_PERIOD_SECONDS = 0.1


class LoopDelayMetrics:
    """Wakes up ten times a second and counts by how much it is late. `start`, and `stop` at the end."""

    def __init__(self, *, registry: CollectorRegistry, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._seconds = Histogram(
            "tastemaker_front_event_loop_delay_seconds",
            "How late the event loop got to what was due, ten samples a second.",
            buckets=LATENCY_SECONDS,
            registry=registry,
        )
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Measures from now on."""
        self._task = asyncio.create_task(self._run(), name="loop-delay")

    async def stop(self) -> None:
        """Ends the background task."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while True:
            due = self._monotonic() + _PERIOD_SECONDS
            await asyncio.sleep(_PERIOD_SECONDS)
            self._seconds.observe(max(0.0, self._monotonic() - due))
