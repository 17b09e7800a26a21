"""A thread that writes, with group commit: requests that arrive while a commit runs wait and then share the next one.

What a request is and how a group of them is stored is its owner's; this file has the queue, the thread and the futures.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

__all__ = ["GroupCommit", "Pending"]

_log = logging.getLogger(__name__)
_RequestT = TypeVar("_RequestT")


class Pending(Generic[_RequestT]):
    """A request that somebody waits for."""

    def __init__(self, request: _RequestT, future: asyncio.Future[Any]) -> None:
        self.request = request
        """What is to be stored."""
        self._future = future
        self._loop = future.get_loop()

    def finish(self, result: Any, error: BaseException | None) -> None:
        """Hands the caller `result`, or raises `error` there. From any thread."""
        try:
            self._loop.call_soon_threadsafe(self._set, result, error)
        except RuntimeError:
            _log.debug("the event loop is closed; nobody waits for this write")

    def _set(self, result: Any, error: BaseException | None) -> None:
        if self._future.done():  # its caller went away
            return
        if error is not None:
            self._future.set_exception(error)
        else:
            self._future.set_result(result)


class GroupCommit(Generic[_RequestT]):
    """Collects requests and hands them to `commit`, group by group, in the order of their submission."""

    def __init__(
        self,
        *,
        name: str,
        commit: Callable[[Sequence[Pending[_RequestT]]], None],
        end: Callable[[], None],
        max_requests: int,
    ) -> None:
        """Starts the thread.

        Args:
            name: The thread's name.
            commit: Stores a group and finishes each request of it. Called on the thread; must not raise.
            end: Called on the thread, last of all.
            max_requests: The most requests of a group.
        """
        self._commit = commit
        self._end = end
        self._max_requests = max_requests
        self.waiting = 0
        """How many requests were submitted and are not finished."""
        self._queue: queue.SimpleQueue[Pending[_RequestT] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def submit(self, request: _RequestT) -> Any:
        """Queues a request, and returns or raises what it was finished with."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.put(Pending(request, future))
        self.waiting += 1
        try:
            return await future
        finally:
            self.waiting -= 1

    async def close(self) -> None:
        """Stores what is queued, and ends the thread."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        open_ = True
        while open_:
            group: list[Pending[_RequestT]] = []
            pending = self._queue.get()
            while pending is not None:
                group.append(pending)
                if len(group) == self._max_requests:
                    break
                try:
                    pending = self._queue.get_nowait()
                except queue.Empty:
                    break
            else:
                open_ = False
            if group:
                self._commit(group)
        self._end()
