"""Lists in Redis: a generation is spread over a fixed number of hashes, so that it can be dropped without a search.

One hash holds every set's pointer to its generations. A reader keeps the pointer it saw last and reads it again in the
same round trip as the list; where it has moved, the read is repeated. `redis_generations` has the pointers and what
else has to change in one step. Every key of a generation names the attempt that wrote it, and is never used twice.
"""

import asyncio
import binascii
import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from tastemaker.artefacts.v1.lists_pb2 import LIST_KEY_USER, ListGeneration, ListKey
from tastemaker.artefacts.v1.state_pb2 import ListPointer, RankedList
from tastemaker_server.errors import StoreUnavailableError
from tastemaker_server.online_store import FoundList
from tastemaker_server.online_store.redis_connection import Command, RedisConnection
from tastemaker_server.online_store.redis_generations import POINTERS, Attempt, PutGeneration, RedisGenerations
from tastemaker_server.online_store.redis_reader import RedisReader

__all__ = ["RedisLists"]

_BUCKETS = 1024  # part of the format: generations lie in so many hashes
_UNREAD_SECONDS = 24 * 3600  # what a killed publisher left goes away by itself
_DROPPED_SECONDS = 60  # readers that saw the old pointer a moment ago may finish
_LISTS_PER_PIPELINE = 4000
_PIPELINES_IN_FLIGHT = 3
_BULK_TIMEOUT_SECONDS = 30.0


class RedisLists:
    """The part of `RedisOnlineStore` that has the lists."""

    def __init__(self, *, connection: RedisConnection, reader: RedisReader) -> None:
        self._lists_connection = connection
        self._lists_reader = reader
        self._generations = RedisGenerations(connection=connection, timeout_seconds=_BULK_TIMEOUT_SECONDS)
        self._pointers: dict[str, tuple[bytes, ListPointer]] = {}

    async def put_lists(self, name: str, generation: int, lists: Iterable[tuple[str, bytes]]) -> int:
        """See `OnlineStore.put_lists`."""
        attempt, left = await self._generations.begin(name, generation)
        if left:
            await self._drop(left)
            await self._generations.forget(left)
        try:
            count, stored = await self._fill(attempt, lists)
            is_whole = await self._generations.finish(attempt, stored)
        except Exception:
            with contextlib.suppress(StoreUnavailableError):  # then it goes away after _UNREAD_SECONDS
                await self._drop(attempt.prefix)
            raise
        if not is_whole:
            await self._drop(attempt.prefix)
            raise _taken(attempt)
        return count

    async def activate_lists(self, name: str, info: ListGeneration) -> None:
        """See `OnlineStore.activate_lists`."""
        checked: PutGeneration | None = None
        while True:
            raw, before = await self._generations.pointer(name)
            if info.generation in (before.active.generation, before.previous.generation):
                if await self._generations.set_pointer(name, raw, _with_active(before, info)):
                    return
                continue
            put = await self._generations.put_generation(name, info.generation)
            if put is None or put.count == 0:
                raise ValueError(f"generation {info.generation} of {name!r} has no lists, or not all; put them first")
            if put != checked:
                await self._make_permanent(put)
                checked = put
            erased = await self._generations.erased_users(name, info.generation) if info.key == LIST_KEY_USER else []
            await self._bulk(*(("HDEL", _bucket_key(put.attempt.prefix, user), user) for user in erased))
            if await self._generations.switch(put, info, raw, before, erased):
                break
        for prefix in await self._generations.dropped():
            await self._bulk(*(("EXPIRE", key, _DROPPED_SECONDS) for key in _bucket_keys(prefix)))
            await self._generations.forget(prefix)

    async def rollback_lists(self, name: str) -> ListGeneration:
        """See `OnlineStore.rollback_lists`."""
        while True:
            raw, before = await self._generations.pointer(name)
            if not before.HasField("previous"):
                raise ValueError(f"{name!r} has no generation before the active one; publish one")
            if await self._generations.set_pointer(name, raw, _with_active(before, before.previous)):
                return before.previous

    async def list_names(self) -> list[str]:
        """See `OnlineStore.list_names`."""
        (names,) = await self._lists_reader.read(("HKEYS", POINTERS))
        return sorted(name.decode() for name in names)

    async def list_generations(self, name: str) -> list[ListGeneration]:
        """See `OnlineStore.list_generations`."""
        raw, *_ = await self._lists_reader.read(("HGET", POINTERS, name))
        pointer = ListPointer.FromString(raw or b"")
        return [info for info, _ in _readable(name, pointer)]

    async def read_list(self, name: str, keys: "Mapping[ListKey, str]") -> FoundList | None:
        """See `OnlineStore.read_list`."""
        _, found = await self._read_with_list((), name, keys)
        return found

    async def _read_with_list(
        self, commands: tuple[Command, ...], name: str, keys: "Mapping[ListKey, str]"
    ) -> tuple[list[Any], FoundList | None]:
        """Returns the replies to `commands`, and what `read_list` returns, in one round trip where no pointer moved."""
        read_pointer = ("HGET", POINTERS, name)
        while True:
            raw, pointer = self._pointers.get(name, (b"", None))
            key = keys.get(pointer.active.key) if pointer is not None else None
            value = None
            if pointer is None or key is None:
                *replies, raw_now = await self._lists_reader.read(*commands, shared=read_pointer)
            else:
                # The list first: where the pointer still is the same after it, all of the generation was there.
                attempt = Attempt(name, pointer.active.generation, pointer.active_attempt)
                read_key = ("HGET", _bucket_key(attempt.prefix, key), key)
                *replies, value, raw_now = await self._lists_reader.read(*commands, read_key, shared=read_pointer)
            if raw_now is None:
                self._pointers.pop(name, None)
                return replies, None
            if pointer is not None and raw_now == raw:
                ranked = RankedList.FromString(value) if value is not None else None
                return replies, FoundList(pointer.active, ranked)
            self._pointers[name] = raw_now, ListPointer.FromString(raw_now)

    async def _erase_from_lists(self, user_id: str) -> None:
        """Removes a user's lists from every generation that can be read, and sees to those that will be."""
        await self._generations.note_erasure(user_id)
        # The pointers after the note: a generation that became active in between has been cleared by its publisher.
        commands: list[Command] = []
        for name in await self.list_names():
            _, pointer = await self._generations.pointer(name)
            for info, attempt in _readable(name, pointer):
                if info.key == LIST_KEY_USER:
                    commands.append(("HDEL", _bucket_key(attempt.prefix, user_id), user_id))
        await self._bulk(*commands)

    async def _fill(self, attempt: Attempt, lists: Iterable[tuple[str, bytes]]) -> tuple[int, int]:
        """Returns how many lists were given, and how many of them are there: fewer, where a key came twice."""
        rows = iter(lists)
        count = 0
        stored = 0
        seen: set[str] = set()
        in_flight: set[asyncio.Task[int]] = set()
        done: set[asyncio.Task[int]] = set()
        try:
            # The next lists are made ready in a thread while others are on their way.
            while commands := await asyncio.to_thread(_next_commands, attempt.prefix, rows, seen):
                count += sum(len(command) // 2 - 1 for command in commands if command[0] == "HSET")
                in_flight.add(asyncio.create_task(self._send_part(attempt, commands)))
                if len(in_flight) >= _PIPELINES_IN_FLIGHT:
                    done, in_flight = await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
                    stored += sum(task.result() for task in done)
            for task in list(in_flight):
                stored += await task
        finally:
            for task in in_flight:
                task.cancel()
            await asyncio.gather(*in_flight, *done, return_exceptions=True)
        return count, stored

    async def _send_part(self, attempt: Attempt, commands: list[Command]) -> int:
        """Stores some lists, and returns how many keys are new."""
        # Not repeated: what a second try finds there is not new, and the count would say less than has to be there.
        replies = await self._lists_connection.execute(
            commands, timeout_seconds=_BULK_TIMEOUT_SECONDS, may_repeat=False
        )
        if not await self._generations.is_filling(attempt):
            raise _taken(attempt)
        return sum(int(reply) for command, reply in zip(commands, replies, strict=True) if command[0] == "HSET")

    async def _make_permanent(self, put: PutGeneration) -> None:
        """Takes off the limit of time, and makes sure that all lists still are there.

        Raises:
            StoreUnavailableError: Some have gone.
        """
        keys = _bucket_keys(put.attempt.prefix)
        await self._bulk(*(("PERSIST", key) for key in keys))
        found = sum(await self._bulk(*(("HLEN", key) for key in keys)))
        if found < put.count:
            name, generation = put.attempt.name, put.attempt.generation
            raise self._lists_connection.unavailable(
                f"it lost {put.count - found} of {put.count} lists of generation {generation} of {name!r} before they "
                "were switched to, in a failover or by eviction; publish it again"
            )

    async def _drop(self, prefix: str) -> None:
        await self._bulk(*(("UNLINK", key) for key in _bucket_keys(prefix)))

    async def _bulk(self, *commands: Command) -> list[Any]:
        return await self._lists_connection.execute(commands, timeout_seconds=_BULK_TIMEOUT_SECONDS)


def _next_commands(prefix: str, rows: Iterator[tuple[str, bytes]], seen: set[str]) -> list[Command]:
    """Takes the next lists and returns what stores them; adds to `seen` the keys that have an end set."""
    by_key: defaultdict[str, list[str | bytes]] = defaultdict(list)
    for key, ranked in islice(rows, _LISTS_PER_PIPELINE):
        by_key[_bucket_key(prefix, key)] += (key, ranked)
    commands: list[Command] = []
    for bucket_key, fields in by_key.items():
        commands.append(("HSET", bucket_key, *fields))
        if bucket_key not in seen:
            seen.add(bucket_key)
            commands.append(("EXPIRE", bucket_key, _UNREAD_SECONDS))
    return commands


def _readable(name: str, pointer: ListPointer) -> Iterator[tuple[ListGeneration, Attempt]]:
    """What a pointer shows, the active generation first."""
    for info, attempt in ((pointer.active, pointer.active_attempt), (pointer.previous, pointer.previous_attempt)):
        if info.generation:
            yield info, Attempt(name, info.generation, attempt)


def _with_active(pointer: ListPointer, info: ListGeneration) -> ListPointer:
    """The pointer with `info` active, one of the two generations that it shows already."""
    if info.generation == pointer.active.generation:
        after = ListPointer()
        after.CopyFrom(pointer)
        after.active.CopyFrom(info)
        return after
    return ListPointer(
        active=info,
        active_attempt=pointer.previous_attempt,
        previous=pointer.active,
        previous_attempt=pointer.active_attempt,
    )


def _taken(attempt: Attempt) -> ValueError:
    return ValueError(
        f"generation {attempt.generation} of {attempt.name!r} is being put by another process, or a later one has "
        "become active; let it finish"
    )


def _bucket_key(prefix: str, key: str) -> str:
    return f"tm:list:{prefix}:{binascii.crc32(key.encode()) % _BUCKETS}"


def _bucket_keys(prefix: str) -> list[str]:
    return [f"tm:list:{prefix}:{bucket}" for bucket in range(_BUCKETS)]
