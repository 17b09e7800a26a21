"""Reads that share round trips: those of one turn of the event loop go out together, one pipeline at a time.

While a pipeline is under way, later reads gather for the next one, so that the busier the front, the more reads share
what a round trip costs. A lone read waits for nothing. A command that many readers need is sent once for all of them.
"""

import asyncio
from typing import Any

from tastemaker_server.errors import StoreUnavailableError
from tastemaker_server.online_store.redis_connection import Command, RedisConnection

__all__ = ["RedisReader"]


class RedisReader:
    """For commands that change nothing."""

    def __init__(self, *, connection: RedisConnection) -> None:
        self._connection = connection
        self._waiting: list[tuple[tuple[Command, ...], Command | None, asyncio.Future[list[Any]]]] = []
        self._task: asyncio.Task[None] | None = None

    async def read(self, *commands: Command, shared: Command | None = None) -> list[Any]:
        """Returns the replies to the commands, which go out in one pipeline, and in their order on one server.

        Args:
            commands: For this reader.
            shared: One more, sent after all readers' own, and once for all that share it.

        Raises:
            StoreUnavailableError: There was no answer in time, or an error.
        """
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((commands, shared, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="redis-reader")
        return await future

    async def close(self) -> None:
        """Waits until nothing is under way."""
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._send()
        finally:
            self._task = None

    async def _send(self) -> None:
        batch, self._waiting = self._waiting, []
        sent = [command for commands, _, _ in batch for command in commands]
        shared = dict.fromkeys(command for _, command, _ in batch if command is not None)
        try:
            replies = await self._connection.read([*sent, *shared])
        except Exception as error:  # whatever it was, every reader must hear of it
            failure = (
                error if isinstance(error, StoreUnavailableError) else StoreUnavailableError("online_store", error)
            )
            batch += self._waiting  # they have waited as long as these; a second wait would be too long
            self._waiting = []
            for _, _, future in batch:
                if not future.done():
                    future.set_exception(failure)
            return
        shared_replies = dict(zip(shared, replies[len(sent) :], strict=True))
        start = 0
        for commands, command, future in batch:
            own = replies[start : start + len(commands)]
            start += len(commands)
            if not future.done():
                future.set_result(own if command is None else [*own, shared_replies[command]])
