"""Reads that share round trips: those of one turn of the event loop go out together. A lone read waits for nothing.

One server is asked by `redis_direct`. Each node of a cluster has a lane of its own: who asks one that is dead or slow
keeps nobody waiting who asks others. A lane has one pipeline under way, while later reads gather for the next one, so
that the busier the front, the more reads share what a round trip costs. A command that many readers need is sent once
for all of them.
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
        self._lanes: dict[str, _Lane] = {}

    async def read(self, *commands: Command, shared: Command | None = None) -> list[Any]:
        """Returns the replies to the commands, which go out in one pipeline, and in their order on one server.

        Args:
            commands: For this reader; in a cluster, all for one node.
            shared: One more, sent after the reader's own; in a cluster once for all that share it.

        Raises:
            StoreUnavailableError: There was no answer in time, or an error.
        """
        if self._connection.direct is not None:
            return await self._connection.direct.read(commands if shared is None else (*commands, shared))
        lane = self._lane(commands[0]) if commands else None
        if shared is None:
            return await (lane or self._lane_of("")).read(commands, None)
        lane_of_shared = self._lane(shared)
        if lane is None or lane is lane_of_shared:
            return await lane_of_shared.read(commands, shared)
        own, of_shared = await asyncio.gather(lane.read(commands, None), lane_of_shared.read((), shared))
        return [*own, *of_shared]

    async def close(self) -> None:
        """Waits until nothing is under way."""
        for lane in self._lanes.values():
            await lane.close()

    def _lane(self, command: Command) -> "_Lane":
        return self._lane_of(self._connection.node(command))

    def _lane_of(self, node: str) -> "_Lane":
        if node not in self._lanes:
            self._lanes[node] = _Lane(connection=self._connection)
        return self._lanes[node]


class _Lane:
    """Reads that share pipelines."""

    def __init__(self, *, connection: RedisConnection) -> None:
        self._connection = connection
        self._waiting: list[tuple[tuple[Command, ...], Command | None, asyncio.Future[list[Any]]]] = []
        self._task: asyncio.Task[None] | None = None

    async def read(self, commands: tuple[Command, ...], shared: Command | None) -> list[Any]:
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((commands, shared, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="redis-reader")
        return await future

    async def close(self) -> None:
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
            replies = await self._connection.execute([*sent, *shared])
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
