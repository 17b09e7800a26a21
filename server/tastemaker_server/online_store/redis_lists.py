"""Lists in Redis: a generation is spread over a fixed number of hashes, so that it can be dropped without a search.

One hash holds every set's pointer to its generations. A reader keeps the pointer it saw last and reads it again in the
same round trip as the list; where it has moved, the read is repeated. Every key of a generation has its number in it.
"""

import asyncio
import binascii
import contextlib
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from tastemaker.artefacts.v1.lists_pb2 import LIST_KEY_USER, ListGeneration, ListKey
from tastemaker.artefacts.v1.state_pb2 import ListPointer, RankedList
from tastemaker_server.errors import StoreUnavailableError
from tastemaker_server.online_store import FoundList
from tastemaker_server.online_store.redis_connection import Command, RedisConnection
from tastemaker_server.online_store.redis_reader import RedisReader

__all__ = ["RedisLists"]

_POINTERS = "tm:lists"  # name → ListPointer
# "name:generation" → the number of lists once all are there, until then whose they are; what no pointer names is to go.
_BEGUN = "tm:lists:begun"
_BUCKETS = 1024  # part of the format: generations lie in so many hashes
_UNREAD_SECONDS = 24 * 3600  # what a killed publisher left goes away by itself
_DROPPED_SECONDS = 60  # readers that saw the old pointer a moment ago may finish
_LISTS_PER_PIPELINE = 4000
_PIPELINES_IN_FLIGHT = 3
_BULK_TIMEOUT_SECONDS = 30.0

_SET_IF_UNCHANGED = """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""


class RedisLists:
    """The part of `RedisOnlineStore` that has the lists."""

    def __init__(self, *, connection: RedisConnection, reader: RedisReader) -> None:
        self._lists_connection = connection
        self._lists_reader = reader
        self._pointers: dict[str, tuple[bytes, ListPointer]] = {}

    async def put_lists(self, name: str, generation: int, lists: Iterable[tuple[str, bytes]]) -> int:
        """See `OnlineStore.put_lists`."""
        _, pointer = await self._pointer(name)
        if generation in _numbers(pointer):
            raise ValueError(f"generation {generation} of {name!r} can be read and cannot change; write a new one")
        begun = f"{name}:{generation}"
        mine = f"filling {secrets.token_hex(8)}"
        await self._bulk(("HSET", _BEGUN, begun, mine))
        await self._drop(name, generation)
        try:
            count = await self._fill(name, generation, lists)
            (is_mine,) = await self._bulk(("EVAL", _SET_IF_UNCHANGED, 1, _BEGUN, begun, mine, count))
        except Exception:
            with contextlib.suppress(StoreUnavailableError):  # then it goes away after _UNREAD_SECONDS
                await self._drop(name, generation)
            raise
        if not is_mine:
            raise ValueError(f"generation {generation} of {name!r} is being put by another process; let it finish")
        return count

    async def activate_lists(self, name: str, info: ListGeneration) -> None:
        """See `OnlineStore.activate_lists`."""
        generation = info.generation
        while True:
            raw, before = await self._pointer(name)
            if generation not in _numbers(before):
                (count,) = await self._bulk(("HGET", _BEGUN, f"{name}:{generation}"))
                if not (count or b"").isdigit() or int(count) == 0:
                    raise ValueError(f"generation {generation} of {name!r} has no lists, or not all; put them first")
                await self._bulk(*(("PERSIST", key) for key in _bucket_keys(name, generation)))
            after = ListPointer(active=info)
            if before.HasField("active") and before.active.generation != generation:
                after.previous.CopyFrom(before.active)
            elif before.HasField("previous"):
                after.previous.CopyFrom(before.previous)
            # What falls out of the pointer is noted first: a publisher killed after the switch leaves nothing for good.
            dropped = _numbers(before) - _numbers(after)
            await self._bulk(*(("HSET", _BEGUN, f"{name}:{number}", 0) for number in dropped))
            if await self._switch(name, raw, after):
                break
        await self._drop_old(name, after, dropped)

    async def rollback_lists(self, name: str) -> ListGeneration:
        """See `OnlineStore.rollback_lists`."""
        while True:
            raw, before = await self._pointer(name)
            if not before.HasField("previous"):
                raise ValueError(f"{name!r} has no generation before the active one; publish one")
            if await self._switch(name, raw, ListPointer(active=before.previous, previous=before.active)):
                return before.previous

    async def list_names(self) -> list[str]:
        """See `OnlineStore.list_names`."""
        (names,) = await self._lists_reader.read(("HKEYS", _POINTERS))
        return sorted(name.decode() for name in names)

    async def list_generations(self, name: str) -> list[ListGeneration]:
        """See `OnlineStore.list_generations`."""
        _, pointer = await self._pointer(name)
        return [info for info in (pointer.active, pointer.previous) if info.generation]

    async def read_list(self, name: str, keys: "Mapping[ListKey, str]") -> FoundList | None:
        """See `OnlineStore.read_list`."""
        _, found = await self._read_with_list((), name, keys)
        return found

    async def _read_with_list(
        self, commands: tuple[Command, ...], name: str, keys: "Mapping[ListKey, str]"
    ) -> tuple[list[Any], FoundList | None]:
        """Returns the replies to `commands`, and what `read_list` returns, in one round trip where no pointer moved."""
        read_pointer = ("HGET", _POINTERS, name)
        while True:
            raw, pointer = self._pointers.get(name, (b"", None))
            key = keys.get(pointer.active.key) if pointer is not None else None
            value = None
            if pointer is None or key is None:
                *replies, raw_now = await self._lists_reader.read(*commands, shared=read_pointer)
            else:
                # The list first: where the pointer still is the same after it, all of the generation was there.
                read_key = ("HGET", _bucket_key(name, pointer.active.generation, _bucket(key)), key)
                *replies, value, raw_now = await self._lists_reader.read(*commands, read_key, shared=read_pointer)
            if raw_now is None:
                self._pointers.pop(name, None)
                return replies, None
            if pointer is not None and raw_now == raw:
                ranked = RankedList.FromString(value) if value is not None else None
                return replies, FoundList(pointer.active, ranked)
            self._pointers[name] = raw_now, ListPointer.FromString(raw_now)

    async def _erase_from_lists(self, user_id: str) -> None:
        """Removes a user's lists from every generation that can be read."""
        commands: list[Command] = []
        for name in await self.list_names():
            commands += [
                ("HDEL", _bucket_key(name, info.generation, _bucket(user_id)), user_id)
                for info in await self.list_generations(name)
                if info.key == LIST_KEY_USER
            ]
        await self._bulk(*commands)

    async def _fill(self, name: str, generation: int, lists: Iterable[tuple[str, bytes]]) -> int:
        rows = iter(lists)
        count = 0
        seen: set[int] = set()
        in_flight: set[asyncio.Task[list[Any]]] = set()
        done: set[asyncio.Task[list[Any]]] = set()
        try:
            # The next lists are made ready in a thread while others are on their way.
            while commands := await asyncio.to_thread(_next_commands, name, generation, rows, seen):
                count += sum(len(command) // 2 - 1 for command in commands if command[0] == "HSET")
                in_flight.add(asyncio.create_task(self._bulk(*commands)))
                if len(in_flight) >= _PIPELINES_IN_FLIGHT:
                    done, in_flight = await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
            for task in list(in_flight):
                await task
        finally:
            for task in in_flight:
                task.cancel()
            await asyncio.gather(*in_flight, *done, return_exceptions=True)
        return count

    async def _drop_old(self, name: str, pointer: ListPointer, dropped: set[int]) -> None:
        """Lets go of what was dropped just now, and of what is older than the active generation and unread."""
        (fields,) = await self._bulk(("HKEYS", _BEGUN))
        for field in fields:
            of, _, digits = field.decode().rpartition(":")
            number = int(digits)
            is_read = number in _numbers(pointer)
            if of != name or not (is_read or number in dropped or number < pointer.active.generation):
                continue
            if not is_read:
                await self._bulk(*(("EXPIRE", key, _DROPPED_SECONDS) for key in _bucket_keys(name, number)))
            await self._bulk(("HDEL", _BEGUN, field))

    async def _pointer(self, name: str) -> tuple[bytes, ListPointer]:
        (raw,) = await self._lists_reader.read(("HGET", _POINTERS, name))
        return raw or b"", ListPointer.FromString(raw or b"")

    async def _switch(self, name: str, raw: bytes, pointer: ListPointer) -> bool:
        command = ("EVAL", _SET_IF_UNCHANGED, 1, _POINTERS, name, raw, pointer.SerializeToString())
        (done,) = await self._bulk(command)
        return bool(done)

    async def _drop(self, name: str, generation: int) -> None:
        await self._bulk(*(("UNLINK", key) for key in _bucket_keys(name, generation)))

    async def _bulk(self, *commands: Command) -> list[Any]:
        return await self._lists_connection.execute(commands, timeout_seconds=_BULK_TIMEOUT_SECONDS)


def _next_commands(name: str, generation: int, rows: Iterator[tuple[str, bytes]], seen: set[int]) -> list[Command]:
    """Takes the next lists and returns what stores them; adds to `seen` the buckets that have an end set."""
    by_bucket: defaultdict[int, list[str | bytes]] = defaultdict(list)
    for key, ranked in islice(rows, _LISTS_PER_PIPELINE):
        by_bucket[_bucket(key)] += (key, ranked)
    commands: list[Command] = []
    for bucket, fields in by_bucket.items():
        bucket_key = _bucket_key(name, generation, bucket)
        commands.append(("HSET", bucket_key, *fields))
        if bucket not in seen:
            seen.add(bucket)
            commands.append(("EXPIRE", bucket_key, _UNREAD_SECONDS))
    return commands


def _numbers(pointer: ListPointer) -> set[int]:
    return {info.generation for info in (pointer.active, pointer.previous) if info.generation}


def _bucket(key: str) -> int:
    return binascii.crc32(key.encode()) % _BUCKETS


def _bucket_key(name: str, generation: int, bucket: int) -> str:
    return f"tm:list:{name}:{generation}:{bucket}"


def _bucket_keys(name: str, generation: int) -> list[str]:
    return [_bucket_key(name, generation, bucket) for bucket in range(_BUCKETS)]
