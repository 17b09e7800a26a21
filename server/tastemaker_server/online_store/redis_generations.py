"""The book of generations in Redis: which are read, on their way in, or to go, and who was erased meanwhile.

All of it has one hash tag, so that each step is one script: it happens as a whole or not at all, on a cluster too, and
refuses where another process was faster. The lists themselves lie in other keys; `redis_lists` has them.

Each attempt to put a generation has a name of its own, and so has each of its keys. Of two publishers at once, neither
can touch what the other wrote, and what was given up can never become active.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tastemaker.artefacts.v1.lists_pb2 import LIST_KEY_USER, ListGeneration
from tastemaker.artefacts.v1.state_pb2 import ListPointer
from tastemaker_server.online_store.redis_connection import Command, RedisConnection

__all__ = ["POINTERS", "Attempt", "PutGeneration", "RedisGenerations"]

POINTERS = "tm:{lists}"  # name → ListPointer
_BEGUN = (
    "tm:{lists}:begun"  # "name:generation" → "attempt count" once all lists are there, "attempt filling" until then
)
_DROPPED = "tm:{lists}:dropped"  # "name:generation:attempt", until its keys are known to go away
_ERASED = "tm:{lists}:erased"  # "name:generation\\0user": erased while that generation was on its way in

_BEGIN = """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return {0, ''} end
local before = redis.call('HGET', KEYS[2], ARGV[3])
local left = before and ARGV[3] .. ':' .. string.match(before, '^%S+') or ''
if before then redis.call('SADD', KEYS[3], left) end
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4] .. ' filling')
return {1, left}
"""
_FINISH = """
local value, whole = redis.call('HGET', KEYS[1], ARGV[1]), ARGV[2] .. ' ' .. ARGV[3]
if value ~= ARGV[2] .. ' filling' and value ~= whole then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], whole)
return 1
"""
_NOTE_ERASURE = """
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do redis.call('SADD', KEYS[2], field .. '\\0' .. ARGV[1]) end
"""
_SET_POINTER = """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""
# ARGV: name, pointer before, pointer after, field, begun value, generation, attempt that is no longer read or '',
# '1' if keyed by user, and the users who were erased and have been removed from the lists.
_SWITCH = """
local name, before, after, field, begun, generation, unread, by_user = unpack(ARGV, 1, 8)
if (redis.call('HGET', KEYS[1], name) or '') ~= before then return 0 end
if redis.call('HGET', KEYS[2], field) ~= begun then return 0 end
local removed = {}
for index = 9, #ARGV do removed[field .. '\\0' .. ARGV[index]] = true end
local erased = redis.call('SMEMBERS', KEYS[4])
local function is_of(member, of) return string.sub(member, 1, #of + 1) == of .. '\\0' end
for _, member in ipairs(erased) do
  if by_user == '1' and is_of(member, field) and not removed[member] then return 0 end
end
redis.call('HSET', KEYS[1], name, after)
if unread ~= '' then redis.call('SADD', KEYS[3], unread) end
local entries = redis.call('HGETALL', KEYS[2])
for index = 1, #entries, 2 do
  local of, value = entries[index], entries[index + 1]
  local is_older = string.sub(of, 1, #name + 1) == name .. ':' and
    tonumber(string.sub(of, #name + 2)) < tonumber(generation)
  if is_older then redis.call('SADD', KEYS[3], of .. ':' .. string.match(value, '^%S+')) end
  if is_older or of == field then
    redis.call('HDEL', KEYS[2], of)
    for _, member in ipairs(erased) do
      if is_of(member, of) then redis.call('SREM', KEYS[4], member) end
    end
  end
end
return 1
"""


@dataclass(frozen=True)
class Attempt:
    """One attempt to put a generation."""

    name: str
    generation: int
    attempt: str

    @property
    def prefix(self) -> str:
        """What the names of its keys begin with, after `tm:list:`."""
        return f"{self.name}:{self.generation}:{self.attempt}"


@dataclass(frozen=True)
class PutGeneration:
    """A generation whose lists have all been put, and which nobody reads yet."""

    attempt: Attempt
    count: int
    """How many lists there have to be."""
    book_value: str


class RedisGenerations:
    """The steps of the book."""

    def __init__(self, *, connection: RedisConnection, timeout_seconds: float) -> None:
        self._connection = connection
        self._timeout_seconds = timeout_seconds

    async def pointer(self, name: str) -> tuple[bytes, ListPointer]:
        """The pointer of a set as it is stored, and parsed; empty where nothing is read."""
        raw = await self._one("HGET", POINTERS, name)
        return raw or b"", ListPointer.FromString(raw or b"")

    async def begin(self, name: str, generation: int) -> tuple[Attempt, str]:
        """Begins an attempt; an earlier one for the same generation can no longer end well.

        Returns:
            The attempt; and the prefix of an earlier, unread one whose keys are to go, or "".

        Raises:
            ValueError: The generation is the active or the previous one.
        """
        attempt = Attempt(name, generation, secrets.token_hex(6))
        while True:
            raw, pointer = await self.pointer(name)
            if generation in (pointer.active.generation, pointer.previous.generation):
                raise ValueError(f"generation {generation} of {name!r} can be read and cannot change; write a new one")
            keys = (POINTERS, _BEGUN, _DROPPED)
            begun, left = await self._eval(_BEGIN, keys, name, raw, f"{name}:{generation}", attempt.attempt)
            if begun:
                return attempt, left.decode()

    async def is_filling(self, attempt: Attempt) -> bool:
        """Whether nobody has begun the same generation anew, or made a later one active."""
        value = await self._one("HGET", _BEGUN, f"{attempt.name}:{attempt.generation}")
        return bool(value == f"{attempt.attempt} filling".encode())

    async def finish(self, attempt: Attempt, count: int) -> bool:
        """Notes that all lists are there; False where `is_filling` would be."""
        field = f"{attempt.name}:{attempt.generation}"
        return bool(await self._eval(_FINISH, (_BEGUN,), field, attempt.attempt, count))

    async def put_generation(self, name: str, generation: int) -> PutGeneration | None:
        """A generation that can be made active; None where it was not put, or not to the end."""
        value = (await self._one("HGET", _BEGUN, f"{name}:{generation}") or b"").decode()
        attempt, _, count = value.partition(" ")
        return PutGeneration(Attempt(name, generation, attempt), int(count), value) if count.isdigit() else None

    async def note_erasure(self, user_id: str) -> None:
        """Notes for every generation that is on its way in that this user's list may not become readable in it."""
        await self._eval(_NOTE_ERASURE, (_BEGUN, _ERASED), user_id)

    async def erased_users(self, name: str, generation: int) -> list[str]:
        """The users noted for a generation."""
        prefix = f"{name}:{generation}\0".encode()
        members: Iterable[bytes] = await self._one("SMEMBERS", _ERASED)
        return [member[len(prefix) :].decode() for member in members if member.startswith(prefix)]

    async def set_pointer(self, name: str, raw: bytes, pointer: ListPointer) -> bool:
        """Changes a set's pointer if it still is `raw`; False if not."""
        return bool(await self._eval(_SET_POINTER, (POINTERS,), name, raw, pointer.SerializeToString()))

    async def switch(
        self, put: PutGeneration, info: ListGeneration, raw: bytes, before: ListPointer, removed: Sequence[str]
    ) -> bool:
        """Makes a generation active, notes what is to go, and forgets who was erased meanwhile.

        Args:
            put: The generation.
            info: What readers get with its lists.
            raw: The set's pointer as it was read.
            before: The same, parsed.
            removed: The users whose lists have been removed from the generation since they were erased.

        Returns:
            False, and nothing has changed, where the pointer or the generation is another now, or one more user was
            erased.
        """
        after = ListPointer(active=info, active_attempt=put.attempt.attempt)
        unread = ""
        if before.HasField("active"):
            after.previous.CopyFrom(before.active)
            after.previous_attempt = before.active_attempt
        if before.HasField("previous"):
            unread = Attempt(put.attempt.name, before.previous.generation, before.previous_attempt).prefix
        name, generation = put.attempt.name, put.attempt.generation
        return bool(
            await self._eval(
                _SWITCH,
                (POINTERS, _BEGUN, _DROPPED, _ERASED),
                *(name, raw, after.SerializeToString(), f"{name}:{generation}", put.book_value, generation, unread),
                int(info.key == LIST_KEY_USER),
                *removed,
            )
        )

    async def dropped(self) -> list[str]:
        """The prefixes of all attempts, of any set, whose keys are to go."""
        return [member.decode() for member in await self._one("SMEMBERS", _DROPPED)]

    async def forget(self, prefix: str) -> None:
        """Forgets an attempt whose keys will go away."""
        await self._one("SREM", _DROPPED, prefix)

    async def _eval(self, script: str, keys: Sequence[str], *arguments: Any) -> Any:
        return await self._one("EVAL", script, len(keys), *keys, *arguments)

    async def _one(self, *command: Any) -> Any:
        sent: Command = command
        (reply,) = await self._connection.execute([sent], timeout_seconds=self._timeout_seconds)
        return reply
