"""Keeps the online store a view of the event log: reads the log in order and applies it, at start and ever after.

`Feedback` appends to the log and then waits here until its events are applied. A front that was killed in between
catches up when it starts: the same code path, so what was acknowledged and what was only stored both reach the store,
once. Several fronts may apply one log to one store at once; each asks the store how far it is, at least once a second,
and so also notices one that was emptied or set back, and applies the log again from there.
"""

import asyncio
import contextlib
import heapq
import logging

from tastemaker_server.errors import StoreUnavailableError
from tastemaker_server.event_log import EventLog
from tastemaker_server.online_store import OnlineStore

__all__ = ["Projector"]

_log = logging.getLogger(__name__)
_BATCH_EVENTS = 2000
_RETRY_SECONDS = 0.2
_LOOK_SECONDS = 1.0


class Projector:
    """One per process. `catch_up`, then `start`; `stop` at the end."""

    def __init__(self, *, event_log: EventLog, online_store: OnlineStore) -> None:
        self._event_log = event_log
        self._online_store = online_store
        self._applied = 0
        self._wake = asyncio.Event()
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._waiter_count = 0
        self._task: asyncio.Task[None] | None = None
        self._failure: StoreUnavailableError | None = None

    async def catch_up(self) -> int:
        """Applies all that the log holds beyond the store, and returns the position reached."""
        before = self._applied = await self._online_store.applied_position()
        while await self._step():
            pass
        if self._applied > before:
            _log.info("online store caught up with the event log from position %d to %d", before, self._applied)
        return self._applied

    def start(self) -> None:
        """Goes on applying in the background."""
        self._task = asyncio.create_task(self._run(), name="projector")

    async def stop(self) -> None:
        """Ends the background task; whatever is in the log waits for the next start."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def wait_until_applied(self, position: int) -> None:
        """Returns when the log up to `position` is applied.

        Raises:
            StoreUnavailableError: It could not be applied now. The log has the events, and applying is tried again.
        """
        if position <= self._applied:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiter_count += 1
        heapq.heappush(self._waiters, (position, self._waiter_count, future))
        self._wake.set()
        await future

    def check(self) -> None:
        """Returns if the last attempt to apply events went well; raises StoreUnavailableError otherwise."""
        if self._failure is not None:
            raise self._failure

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            try:
                while await self._step():
                    pass
            except Exception as error:  # whatever it was, callers must hear of it and the log must be read again
                self._failure = self._as_failure(error)
                self._fail_waiters(self._failure)
                await asyncio.sleep(_RETRY_SECONDS)
                self._wake.set()

    async def _step(self) -> bool:
        self._note(await self._online_store.applied_position())
        events = await self._event_log.read(self._applied, _BATCH_EVENTS)
        if events:
            self._note(await self._online_store.apply(events, after=self._applied))
        if self._failure is not None:
            _log.info("events are applied again, up to position %d", self._applied)
            self._failure = None
        while self._waiters and self._waiters[0][0] <= self._applied:
            _, _, future = heapq.heappop(self._waiters)
            if not future.done():
                future.set_result(None)
        return bool(events)

    def _as_failure(self, error: Exception) -> StoreUnavailableError:
        """Logs a failure, of a store that is away only the first of a row, and returns what callers are to hear."""
        if not isinstance(error, StoreUnavailableError):
            _log.error("cannot apply events now, trying again every %s s", _RETRY_SECONDS, exc_info=error)
            return StoreUnavailableError("online_store", error)
        if self._failure is None:
            _log.warning("cannot apply events now, trying again every %s s: %s", _RETRY_SECONDS, error)
        return error

    def _note(self, applied: int) -> None:
        """Takes over how far the store is; another front may have gone further, and a store can lose what it had."""
        if applied < self._applied:
            _log.warning(
                "online store went back from position %d to %d: applying the event log again from there",
                self._applied,
                applied,
            )
        self._applied = applied

    def _fail_waiters(self, error: StoreUnavailableError) -> None:
        for _, _, future in self._waiters:
            if not future.done():
                future.set_exception(error)
        self._waiters.clear()
