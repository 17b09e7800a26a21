"""The connection to Redis or Valkey: pipelines with a time limit, and errors in words that an operator can act on.

It knows one server and a cluster; what is stored is the business of the other `redis_*` files. No command is sent that
needs several keys but the scripts that name them, and those keep their keys within one hash tag.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from hiredis import pack_command
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from tastemaker_server.errors import SettingsError, StoreUnavailableError
from tastemaker_server.store_urls import mask_passwords

__all__ = ["Command", "RedisConnection"]

Command = tuple[Any, ...]
"""A command with its arguments: texts, numbers or bytes."""

_STORE = "online_store"
_COMMANDS_PER_PIPELINE = 256
_HINTS: Sequence[tuple[type[Exception], str]] = [
    (OutOfMemoryError, "its memory is full: raise its maxmemory, or publish shorter lists"),
    (ReadOnlyError, "it is a replica: name the primary"),
    (AuthenticationError, "it refuses the user or password: mend them in the URL"),
    (AuthorizationError, "it refuses the user or password: mend them in the URL"),
    (NoPermissionError, "the user may not do this: give it the commands and the keys tm:*"),
    (BusyLoadingError, "it is still reading its data from disk: wait"),
    (ClusterDownError, "not all of the cluster's slots are served"),
]


class RedisConnection:
    """One server or one cluster. Connects at the first command, and again by itself."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        """Takes the address; nothing is sent yet.

        Args:
            url: See `store_urls.REDIS_URL_PATTERN`.
            timeout_seconds: How long to wait for a connection and for the answer of one pipeline, together.

        Raises:
            SettingsError: The URL cannot be read.
        """
        self._shown_url = mask_passwords(url)
        self._timeout_seconds = timeout_seconds
        # One more try on a new connection mends one that died while it was idle; every command here may be repeated.
        retry = Retry(NoBackoff(), 1)
        options: dict[str, Any] = {"socket_connect_timeout": timeout_seconds, "socket_timeout": None}
        try:
            if "+cluster://" in url:
                cluster: Any = RedisCluster.from_url(url.replace("+cluster", "", 1), **options)
                self._client: Any = cluster
                self._for_reads: Any = None
            else:
                self._client = Redis.from_url(url, retry=retry, **options)
                self._for_reads = self._client.connection_pool.make_connection()
        except (RedisError, ValueError) as error:
            raise SettingsError([f"stores.online_store: {self._shown_url} cannot be used: {error}"]) from error

    async def execute(self, commands: Sequence[Command], *, timeout_seconds: float | None = None) -> list[Any]:
        """Sends commands, some hundred in a pipeline, and returns their replies in order.

        On one server they run in this order; on a cluster, those of one pipeline run in any.

        Args:
            commands: Any number.
            timeout_seconds: Instead of the connection's own, for each pipeline.

        Raises:
            StoreUnavailableError: A command could not be sent or answered with an error; others may have been done.
        """
        replies: list[Any] = []
        for start in range(0, len(commands), _COMMANDS_PER_PIPELINE):
            part = commands[start : start + _COMMANDS_PER_PIPELINE]
            replies += await self._send(part, timeout_seconds or self._timeout_seconds)
        return replies

    async def read(self, commands: Sequence[Command]) -> list[Any]:
        """As `execute`, for commands that change nothing, and one call at a time.

        On one server they have a connection of their own: a pipeline of the client's takes one from the pool, looks
        whether it is alive and puts it back, which costs more than the commands.

        Raises:
            StoreUnavailableError: A command could not be sent or answered with an error.
        """
        if self._for_reads is None:
            return await self.execute(commands)
        return await self._checked(self._exchange(commands), self._timeout_seconds)

    async def close(self) -> None:
        """Closes the connections."""
        if self._for_reads is not None:
            await self._for_reads.disconnect()
        await self._client.aclose()

    async def _send(self, commands: Sequence[Command], timeout_seconds: float) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return await self._checked(pipeline.execute(raise_on_error=False), timeout_seconds)

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Sends commands on the connection for reads; where that has died, once more on a new one."""
        try:
            return await self._exchange_once(commands)
        except (RedisConnectionError, OSError):
            return await self._exchange_once(commands)

    async def _exchange_once(self, commands: Sequence[Command]) -> list[Any]:
        connection = self._for_reads
        replies = []
        try:
            await connection.send_packed_command(b"".join(map(pack_command, commands)))  # connects, where it must
            for _ in commands:
                try:
                    replies.append(await connection.read_response())
                except ResponseError as error:  # of this command; the next one's reply follows
                    replies.append(error)
        except BaseException:  # a cancellation too: the next call must not get the replies to this one
            await connection.disconnect(nowait=True)
            raise
        return replies

    async def _checked(self, sending: Coroutine[Any, Any, list[Any]], timeout_seconds: float) -> list[Any]:
        """Awaits replies, and raises StoreUnavailableError where they do not come or one is an error."""
        try:
            async with asyncio.timeout(timeout_seconds):
                replies = await sending
        except TimeoutError as error:
            raise self._unavailable(f"no answer within {timeout_seconds:g} s") from error
        except (RedisError, RedisClusterException, OSError, IndexError) as error:  # IndexError: no node is left
            raise self._unavailable(error) from error
        for reply in replies:
            if isinstance(reply, Exception):
                raise self._unavailable(reply)
        return replies

    def _unavailable(self, cause: object) -> StoreUnavailableError:
        root = cause.__cause__ if isinstance(cause, RedisClusterException) and cause.__cause__ else cause
        text = str(root) or type(root).__name__
        hint = next((hint for kind, hint in _HINTS if isinstance(root, kind)), "")
        if not hint:
            hint = _hint_from_text(text)
        return StoreUnavailableError(
            _STORE, f"stores.online_store {self._shown_url}: {hint + ' ' if hint else ''}({mask_passwords(text)})"
        )


def _hint_from_text(text: str) -> str:
    """Some errors come without a class of their own, as from within a script."""
    for word, kind in (("OOM", OutOfMemoryError), ("READONLY", ReadOnlyError), ("NOAUTH", AuthenticationError)):
        if word in text:
            return next(hint for known, hint in _HINTS if known is kind)
    return ""
