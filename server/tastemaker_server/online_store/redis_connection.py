"""The connection to Redis or Valkey: pipelines with a time limit, and errors in words that an operator can act on.

It knows one server and a cluster; what is stored is the business of the other `redis_*` files. No command is sent that
needs several keys but the scripts that name them, and those keep their keys within one hash tag.

In a cluster, the client's own way after an error is to close all its connections and to wait: one dead node would cost
the answers of all others. So the commands for each node go out by themselves, and this file asks anew who serves what.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import SSLConnection
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
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from tastemaker_server.errors import SettingsError, StoreUnavailableError
from tastemaker_server.online_store.redis_direct import RedisDirect
from tastemaker_server.online_store.redis_packing import PackingConnection, PackingSSLConnection
from tastemaker_server.store_urls import mask_passwords

__all__ = ["Command", "RedisConnection"]

Command = tuple[Any, ...]
"""A command with its arguments: texts, numbers or bytes."""

_STORE = "online_store"
_COMMANDS_PER_PIPELINE = 256
# After these, another node may serve what was asked for.
_MOVED_AWAY = (RedisConnectionError, ClusterDownError, TryAgainError, RedisClusterException, OSError)
_SECONDS_BETWEEN_LOOKS = 0.5  # at a cluster's nodes; each look opens all connections anew
_SILENT_NODE_SECONDS = 5.0  # then another node is asked who serves what
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
        self.is_cluster = "+cluster://" in url
        """Whether keys lie on different nodes, one of which may be away."""
        self.direct: RedisDirect | None = None
        """For reads, where there is one server."""
        self._look: asyncio.Task[None] | None = None
        self._next_look = 0.0
        self._former_nodes: list[Any] = []
        # One more try on a new connection mends one that died while it was idle; every command here may be repeated.
        retry = Retry(NoBackoff(), 0 if self.is_cluster else 1)
        options: dict[str, Any] = {"socket_connect_timeout": timeout_seconds, "retry": retry}
        try:
            if self.is_cluster:
                options |= {"socket_timeout": _SILENT_NODE_SECONDS, "require_full_coverage": False}
                self._client: Any = RedisCluster.from_url(url.replace("+cluster", "", 1), **options)
            else:
                self._client = Redis.from_url(url, socket_timeout=None, **options)
                pool = self._client.connection_pool
                is_tls = issubclass(pool.connection_class, SSLConnection)
                pool.connection_class = PackingSSLConnection if is_tls else PackingConnection
                self.direct = RedisDirect(
                    self._client.connection_pool.make_connection,
                    timeout_seconds=timeout_seconds,
                    unavailable=self.unavailable,
                )
        except (RedisError, ValueError) as error:
            raise SettingsError([f"stores.online_store: {self._shown_url} cannot be used: {error}"]) from error

    def node(self, command: Command) -> str:
        """The name of the node that a command with one key goes to; "" for the only one, or while none is known."""
        if not self.is_cluster:
            return ""
        try:
            return str(self._client.get_node_from_key(command[3] if command[0] == "EVAL" else command[1]).name)
        except RedisClusterException:
            return ""

    async def execute(
        self, commands: Sequence[Command], *, timeout_seconds: float | None = None, may_repeat: bool = True
    ) -> list[Any]:
        """Sends commands, some hundred in a pipeline, and returns their replies in order.

        On one server they run in this order; on a cluster, those of one pipeline run in any.

        Args:
            commands: Any number.
            timeout_seconds: Instead of the connection's own, for each pipeline.
            may_repeat: Whether to try once more where a node of a cluster could not be reached.

        Raises:
            StoreUnavailableError: A command could not be sent or answered with an error; others may have been done.
        """
        replies: list[Any] = []
        for start in range(0, len(commands), _COMMANDS_PER_PIPELINE):
            part = commands[start : start + _COMMANDS_PER_PIPELINE]
            replies += await self._send(part, timeout_seconds or self._timeout_seconds, may_repeat=may_repeat)
        return replies

    async def close(self) -> None:
        """Closes the connections."""
        if self.direct is not None:
            self.direct.close()
        if self._look is not None:
            self._look.cancel()
            await asyncio.gather(self._look, return_exceptions=True)
        if self.is_cluster:
            await asyncio.gather(*(node.disconnect() for node in [*self._former_nodes, *self._nodes()]))
        await self._client.aclose()

    async def _send(self, commands: Sequence[Command], timeout_seconds: float, *, may_repeat: bool) -> list[Any]:
        try:
            async with asyncio.timeout(timeout_seconds):
                replies = await self._send_to_nodes(commands)
                lost = [number for number, reply in enumerate(replies) if isinstance(reply, _MOVED_AWAY)]
                if self.is_cluster and lost and await self._looked_anew() and may_repeat:
                    again = await self._send_to_nodes([commands[number] for number in lost])
                    for number, reply in zip(lost, again, strict=True):
                        replies[number] = reply
        except TimeoutError as error:
            if self.is_cluster:
                self._look_anew()
            raise self._late(timeout_seconds) from error
        return self._checked(replies)

    async def _send_to_nodes(self, commands: Sequence[Command]) -> list[Any]:
        """The replies, errors among them, as the commands of each node gave them."""
        if not self.is_cluster:
            return await self._pipeline(commands)
        by_node: defaultdict[str, list[int]] = defaultdict(list)
        for number, command in enumerate(commands):
            by_node[self.node(command)].append(number)
        groups = list(by_node.values())
        of_groups = await asyncio.gather(*(self._pipeline([commands[number] for number in group]) for group in groups))
        replies: list[Any] = [None] * len(commands)
        for group, of_group in zip(groups, of_groups, strict=True):
            for number, reply in zip(group, of_group, strict=True):
                replies[number] = reply
        return replies

    async def _pipeline(self, commands: Sequence[Command]) -> list[Any]:
        try:
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
        except (RedisError, RedisClusterException, OSError, IndexError) as error:  # IndexError: no node is left
            return [error] * len(commands)
        return replies

    def _look_anew(self) -> "asyncio.Task[None] | None":
        """Asks a cluster who serves what, unless it was asked a moment ago: then None."""
        now = asyncio.get_running_loop().time()
        if self._look is None or self._look.done():
            if now < self._next_look:
                return None
            self._look = asyncio.create_task(self._look_at_nodes(), name="redis-cluster-look")
            self._look.add_done_callback(self._looked)
        return self._look

    async def _look_at_nodes(self) -> None:
        # The client makes new nodes and forgets the old ones, connections and all. They are closed a look later, when
        # what was under way on them has ended.
        await asyncio.gather(*(node.disconnect() for node in self._former_nodes))
        self._former_nodes = self._nodes()
        await self._client.nodes_manager.initialize()

    def _nodes(self) -> list[Any]:
        """The cluster's nodes as commands find them."""
        slots = self._client.nodes_manager.slots_cache
        return list({id(node): node for of_slot in slots.values() for node in of_slot}.values())

    def _looked(self, look: "asyncio.Task[None]") -> None:
        self._next_look = look.get_loop().time() + _SECONDS_BETWEEN_LOOKS
        if not look.cancelled():
            look.exception()  # what was asked for has an error of its own

    async def _looked_anew(self) -> bool:
        look = self._look_anew()
        if look is None:
            return False
        await asyncio.wait([look])  # not cut off with its caller
        return not look.cancelled() and look.exception() is None

    def _checked(self, replies: list[Any]) -> list[Any]:
        for reply in replies:
            if isinstance(reply, Exception):
                raise self.unavailable(reply) from reply
        return replies

    def _late(self, timeout_seconds: float) -> StoreUnavailableError:
        return self.unavailable(f"no answer within {timeout_seconds:g} s")

    def unavailable(self, cause: object) -> StoreUnavailableError:
        """The error that names the setting and says what to do about `cause`."""
        root = cause.__cause__ if isinstance(cause, RedisClusterException) and cause.__cause__ else cause
        text = str(root) or type(root).__name__
        hint = next((hint for kind, hint in _HINTS if isinstance(root, kind)), "")
        if not hint:
            hint = _hint_from_text(text)
        if not hint and isinstance(root, RedisConnectionError | OSError):
            hint = "it cannot be reached: start it, or mend host and port in the URL"
        return StoreUnavailableError(
            _STORE, f"stores.online_store {self._shown_url}: {hint + ' ' if hint else ''}({mask_passwords(text)})"
        )


def _hint_from_text(text: str) -> str:
    """Some errors come without a class of their own, as from within a script."""
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            "its certificate is not trusted: name the CA's file in the URL, ?ssl_ca_certs=FILE, and the host as in it"
        )
    for word, kind in (
        ("OOM", OutOfMemoryError),
        ("READONLY", ReadOnlyError),
        ("NOAUTH", AuthenticationError),
        ("NOPERM", NoPermissionError),
    ):
        if word in text:
            return next(hint for known, hint in _HINTS if known is kind)
    return ""
