"""Reads that share round trips: those of one turn of the event loop go out together, one pipeline at a time.

While a pipeline is under way, later reads gather for the next one, so that the busier the front, the more reads share
what a round trip costs. A lone read waits for nothing. Equal commands are sent once.
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
        self._waiting: list[tuple[tuple[Command, ...], asyncio.Future[list[Any]]]] = []
        self._task: asyncio.Task[None] | None = None

    async def read(self, *commands: Command) -> list[Any]:
        """Returns the replies to the commands, which go out in one pipeline and in their order.

        Raises:
            StoreUnavailableError: There was no answer in time, or an error.
        """
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((commands, future))
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
        places: dict[Command, int] = {}
        for commands, _ in batch:
            for command in commands:
                places.setdefault(command, len(places))
        try:
            replies = await self._connection.execute(list(places))
        except Exception as error:  # whatever it was, every reader must hear of it
            failure = (
                error if isinstance(error, StoreUnavailableError) else StoreUnavailableError("online_store", error)
            )
            batch += self._waiting  # they have waited as long as these; a second wait would be too long
            self._waiting = []
            for _, future in batch:
                if not future.done():
                    future.set_exception(failure)
            return
        for commands, future in batch:
            if not future.done():
                future.set_result([replies[places[command]] for command in commands])
