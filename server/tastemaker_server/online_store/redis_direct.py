"""Reads from one Redis server on a connection of their own, where no task and no timer stands between call and reply.

redis-py connects: address, TLS, user, database. From then on this is the connection's protocol: commands of one turn of
the event loop go out in one write, and a reply goes to whoever waits for it as soon as it has come in. A pipeline of
redis-py costs the front three times as much processor time as the rest of a read.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tastemaker_server.errors import StoreUnavailableError

__all__ = ["RedisDirect"]

_NOTHING = object()


class RedisDirect:
    """Connects at the first read, and again by itself. Reads may be under way side by side, any number of them."""

    def __init__(
        self,
        make_connection: Callable[[], Any],
        *,
        timeout_seconds: float,
        unavailable: Callable[[object], StoreUnavailableError],
    ) -> None:
        """Takes the parts; nothing is sent yet.

        Args:
            make_connection: A `redis.asyncio.Connection` that is not connected yet.
            timeout_seconds: How long to wait for a connection, and then for a reply.
            unavailable: The error that says what to do about a cause.
        """
        self._make_connection = make_connection
        self._timeout_seconds = timeout_seconds
        self._unavailable = unavailable
        self._wire: _Wire | None = None
        self._connecting: asyncio.Task[_Wire] | None = None

    async def read(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Sends commands that change nothing, and returns their replies, in their order.

        Raises:
            StoreUnavailableError: There was no answer in time, or an error.
        """
        packed = b"".join(map(hiredis.pack_command, commands))
        try:
            try:
                replies = await (await self._connected()).ask(packed, len(commands))
            except RedisConnectionError:  # it died while it was idle, or just now: reads may be repeated
                replies = await (await self._connected()).ask(packed, len(commands))
        except RedisTimeoutError as error:
            raise self._unavailable(f"no answer within {self._timeout_seconds:g} s") from error
        except (RedisError, OSError) as error:
            raise self._unavailable(error) from error
        for reply in replies:
            if isinstance(reply, Exception):
                raise self._unavailable(reply) from reply
        return replies

    def close(self) -> None:
        """Closes the connection; reads under way fail."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._wire is not None:
            self._wire.close(RedisConnectionError("the store is closed"))

    async def _connected(self) -> "_Wire":
        if self._wire is not None and self._wire.is_open:
            return self._wire
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect(), name="redis-connect")
            self._connecting.add_done_callback(_heard)
        # Not cut off with the reader who happened to be the first: others wait too.
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> "_Wire":
        connection = self._make_connection()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await connection.connect()
            self._wire = _Wire(connection, timeout_seconds=self._timeout_seconds)
        except TimeoutError as error:
            raise RedisTimeoutError from error
        finally:
            if connection.is_connected:  # nobody has taken it over
                await connection.disconnect(nowait=True)
            self._connecting = None
        return self._wire


def _heard(connecting: "asyncio.Task[_Wire]") -> None:
    """Whoever waited for it may have gone: then its error is nobody's."""
    if not connecting.cancelled():
        connecting.exception()


class _Wire(asyncio.Protocol):
    """A connection that is open, and who waits for replies on it, in the order in which they were asked for."""

    def __init__(self, connection: Any, *, timeout_seconds: float) -> None:
        self.is_open = True
        self._timeout_seconds = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting] = deque()
        self._unsent: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        # redis-py has no public way to hand a connection over, nor to make its errors of replies.
        self._parser = hiredis.Reader(notEnoughData=_NOTHING, replyError=connection._parser.parse_error)
        # The writer is kept: it would close the transport when it goes.
        self._writer, connection._reader, connection._writer = connection._writer, None, None
        self._transport: Any = self._writer.transport
        self._transport.set_protocol(self)

    def ask(self, packed: bytes, count: int) -> "asyncio.Future[list[Any]]":
        """Sends packed commands; the future has their `count` replies."""
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(packed)
        waiting = _Waiting(self._loop.create_future(), count, self._loop.time() + self._timeout_seconds)
        self._waiting.append(waiting)
        if self._timer is None:
            self._timer = self._loop.call_at(waiting.until, self._look_at_clock)
        return waiting.future

    def close(self, error: Exception) -> None:
        """Closes the connection, and tells whoever waits."""
        self.is_open = False
        self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        for waiting in self._waiting:
            if not waiting.future.done():
                waiting.future.set_exception(error)
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            self._parser.feed(data)
            while (reply := self._parser.gets()) is not _NOTHING:
                waiting = self._waiting[0]
                waiting.replies.append(reply)
                if len(waiting.replies) == waiting.count:
                    self._waiting.popleft()
                    if not waiting.future.done():  # whoever asked may have gone
                        waiting.future.set_result(waiting.replies)
        except (hiredis.HiredisError, IndexError) as error:  # what follows is no reply to anybody
            self.close(RedisConnectionError(f"not Redis' protocol: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.close(RedisConnectionError(f"the connection was lost: {exc or 'closed by the server'}"))

    def _send(self) -> None:
        self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _look_at_clock(self) -> None:
        """One timer for all who wait, as a timer for each would cost as much as the read."""
        self._timer = None
        if not self._waiting:
            return
        until = self._waiting[0].until
        if until <= self._loop.time():
            self.close(RedisTimeoutError())
        else:
            self._timer = self._loop.call_at(until, self._look_at_clock)


class _Waiting:
    """One read under way."""

    __slots__ = ("count", "future", "replies", "until")

    def __init__(self, future: "asyncio.Future[list[Any]]", count: int, until: float) -> None:
        self.future = future
        self.count = count
        self.until = until
        self.replies: list[Any] = []
