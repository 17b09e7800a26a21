"""Keeps the online store a view of the event log: reads the log in order and applies it, at start and ever after.

`Feedback` appends to the log and then waits here until its events are applied. A front that was killed in between
catches up when it starts: the same code path, so what was acknowledged and what was only stored both reach the store,
once. Several fronts may apply one log to one store at once; each asks the store how far it is, every so often,
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


class Projector:
    """One per process. `catch_up`, then `start`; `stop` at the end."""

    def __init__(self, *, event_log: EventLog, online_store: OnlineStore, poll_seconds: float = 1.0) -> None:
        """Takes the stores.

        Args:
            event_log: What is read.
            online_store: What it is applied to.
            poll_seconds: How often to look for events that other fronts appended, and for a store that lost some.
        """
        self._event_log = event_log
        self._online_store = online_store
        self._poll_seconds = poll_seconds
        self._applied = 0
        self._wake = asyncio.Event()
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._waiter_count = 0
        self._task: asyncio.Task[None] | None = None
        self._failure: StoreUnavailableError | None = None

    @property
    def applied_position(self) -> int:
        """The position of the log up to which the store is known to be."""
        return self._applied

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
        """Returns if the online store took the last events; raises StoreUnavailableError otherwise.

        An event log that cannot be read is not the online store's fault: lists are served on from what it knows.
        """
        if self._failure is not None and self._failure.metadata.get("store") != "event_log":
            raise self._failure

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._wake.wait()
            self._wake.clear()
            try:
                while await self._step():
                    pass
            except StoreUnavailableError as error:
                if self._failure is None:
                    _log.error("cannot apply events now, trying again every %s s: %s", _RETRY_SECONDS, error)
                await self._wait_after(error)
            except Exception as error:  # whatever it was, callers must hear of it and the log must be read again
                _log.exception("cannot apply events now, trying again every %s s", _RETRY_SECONDS)
                await self._wait_after(StoreUnavailableError("online_store", error))

    async def _wait_after(self, failure: StoreUnavailableError) -> None:
        self._failure = failure
        self._fail_waiters(failure)
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
