"""Cuts calls off when their time is over, with one timer for all of them.

`asyncio.timeout` makes a timer for each call, and another where the time changes, nearly all of which are taken back
unused: a tenth of the processor time of a call that waits for a store.
"""

import asyncio
from types import TracebackType

__all__ = ["TimeLimit", "TimeLimits"]


class TimeLimits:
    """For the tasks of one event loop."""

    def __init__(self) -> None:
        self._running: set[TimeLimit] = set()
        self._timer: asyncio.TimerHandle | None = None

    def until(self, time: float) -> "TimeLimit":
        """A limit for what is done inside it, by the task that enters it: `with limits.until(time) as limit:`.

        Args:
            time: When it is over, on the clock of the event loop.
        """
        return TimeLimit(self, time)

    def _begin(self, limit: "TimeLimit") -> None:
        self._running.add(limit)
        if self._timer is None or limit.time < self._timer.when():
            self._set_timer(limit.time)

    def _end(self, limit: "TimeLimit") -> None:
        # The timer stays: it will find others, or nobody, and that costs less than to take it back each time.
        self._running.discard(limit)

    def _set_timer(self, time: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(time, self._look_at_clock)

    def _look_at_clock(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for limit in [limit for limit in self._running if limit.time <= now]:
            self._running.discard(limit)
            limit.cut_off()
        if self._running:
            self._set_timer(min(limit.time for limit in self._running))


class TimeLimit:
    """One limit. Entered once."""

    __slots__ = ("_cancelling", "_is_over", "_limits", "_task", "time")

    def __init__(self, limits: TimeLimits, time: float) -> None:
        self._limits = limits
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._is_over = False
        self.time = time
        """When it is over; may be put off meanwhile."""

    def __enter__(self) -> "TimeLimit":
        """Begins.

        Raises:
            RuntimeError: Not in a task.
        """
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("a time limit holds for a task; enter it in one")
        self._cancelling = self._task.cancelling()
        self._limits._begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends.

        Raises:
            TimeoutError: It was over. Where the task was cancelled by others as well, CancelledError stays.
        """
        self._limits._end(self)
        if self._is_over and self._task is not None:
            is_ours_alone = self._task.uncancel() <= self._cancelling
            if is_ours_alone and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def cut_off(self) -> None:
        """Called when it is over."""
        self._is_over = True
        if self._task is not None:
            self._task.cancel()
