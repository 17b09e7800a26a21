"""The connection to Redis or Valkey: pipelines with a time limit, and errors in words that an operator can act on.

It knows one server and a cluster; what is stored is the business of the other `redis_*` files. No command is sent that
needs several keys but the scripts that name them, and those keep their keys within one hash tag.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

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
)

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
            else:
                self._client = Redis.from_url(url, retry=retry, **options)
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

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def _send(self, commands: Sequence[Command], timeout_seconds: float) -> list[Any]:
        try:
            async with asyncio.timeout(timeout_seconds):
                pipeline = self._client.pipeline(transaction=False)
                for command in commands:
                    pipeline.execute_command(*command)
                replies: list[Any] = await pipeline.execute(raise_on_error=False)
        except TimeoutError as error:
            raise self.unavailable(f"no answer within {timeout_seconds:g} s") from error
        except (RedisError, RedisClusterException, OSError, IndexError) as error:  # IndexError: no node is left
            raise self.unavailable(error) from error
        for reply in replies:
            if isinstance(reply, Exception):
                raise self.unavailable(reply)
        return replies

    def unavailable(self, cause: object) -> StoreUnavailableError:
        """The error that names the setting and says what to do about `cause`."""
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
