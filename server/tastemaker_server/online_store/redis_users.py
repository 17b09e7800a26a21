"""Users' states and popularity in Redis, exactly once though they lie in different slots.

docs/adr/0008-redis-online-store.md has the reasoning. In short: a user's value changes by compare-and-set on the
position it reflects, and keeps which consumed items may not be counted yet; popularity and `applied_position` lie in
one slot and change in one script, which does nothing where another process was faster.
"""

import struct
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from tastemaker.artefacts.v1.state_pb2 import CountedUserState, UserState
from tastemaker_server.event_log import LoggedEvent
from tastemaker_server.online_store.redis_connection import Command, RedisConnection
from tastemaker_server.online_store.redis_reader import RedisReader
from tastemaker_server.user_state import StatePolicy, updated_state

__all__ = ["RedisUsers"]

_APPLIED = "tm:{popular}:applied"
_COUNTS = "tm:{popular}:counts"  # item → minus the number of users: ascending order then is most first, ties by item id
_ERASING = "tm:{popular}:erasing"
# A user's value: the position of the newest event in it, 8 bytes that a script can compare, and a CountedUserState.
_POSITION = struct.Struct(">Q")

_SET_IF_UNCHANGED = """
if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
_COUNT = """
local applied = redis.call('GET', KEYS[1]) or '0'
if applied ~= ARGV[1] then return applied end
for index = 3, #ARGV, 2 do redis.call('ZINCRBY', KEYS[2], ARGV[index], ARGV[index + 1]) end
redis.call('SET', KEYS[1], ARGV[2])
return ARGV[2]
"""
_COUNT_ERASED = """
if redis.call('HSETNX', KEYS[3], ARGV[1], 1) == 0 then return 0 end
local applied = tonumber(redis.call('GET', KEYS[1]) or '0')
for index = 2, #ARGV, 2 do
  if tonumber(ARGV[index]) <= applied then redis.call('ZINCRBY', KEYS[2], 1, ARGV[index + 1]) end
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], 0, '+inf')
return 1
"""


class RedisUsers:
    """The part of `RedisOnlineStore` that has users' states and popularity."""

    def __init__(self, *, connection: RedisConnection, reader: RedisReader, policy: StatePolicy) -> None:
        self._connection = connection
        self._reader = reader
        self._policy = policy

    async def user_state(self, user_id: str) -> UserState | None:
        """See `OnlineStore.user_state`."""
        (value,) = await self._reader.read(self._user_command(user_id))
        return self._user_state(value)

    async def applied_position(self) -> int:
        """See `OnlineStore.applied_position`."""
        (applied,) = await self._reader.read(("GET", _APPLIED))
        return int(applied or 0)

    async def popular(self, limit: int) -> list[tuple[str, int]]:
        """See `OnlineStore.popular`."""
        (pairs,) = await self._reader.read(("ZRANGE", _COUNTS, 0, limit - 1, "WITHSCORES"))
        return [(item.decode(), -int(float(score))) for item, score in _item_scores(pairs)]

    async def apply(self, events: Sequence[LoggedEvent], *, after: int) -> int:
        """See `OnlineStore.apply`."""
        while (applied := await self._try_to_apply(events, after)) is None:
            pass  # another process changed a user meanwhile, and so got on
        return applied

    def _user_command(self, user_id: str) -> Command:
        return "GET", _user_key(user_id)

    def _user_state(self, value: bytes | None) -> UserState | None:
        """The state in the reply to `_user_command`."""
        return _parsed(value)[1].state if value is not None else None

    async def _try_to_apply(self, events: Sequence[LoggedEvent], after: int) -> int | None:
        by_user: defaultdict[str, list[LoggedEvent]] = defaultdict(list)
        for logged in events:
            by_user[logged.event.user_id].append(logged)
        # Users first, the position second: then every value holds all events up to that position, whatever happened
        # in between, as long as it is still unchanged when it is written.
        values = await self._connection.execute([("GET", _user_key(user_id)) for user_id in by_user])
        (raw,) = await self._connection.execute([("GET", _APPLIED)])
        applied = int(raw or 0)
        if applied < after or not events or events[-1].position <= applied:
            return applied
        writes: list[Command] = []
        counts: Counter[str] = Counter()
        for (user_id, user_events), value in zip(by_user.items(), values, strict=True):
            position, stored = _parsed(value)
            uncounted = _uncounted(stored, applied)
            new = [logged for logged in user_events if logged.position > max(position, applied)]
            if new:
                state, consuming = updated_state(stored.state, new, self._policy)
                uncounted += [(logged.event.item_id, logged.position) for logged in consuming]
                written = _POSITION.pack(new[-1].position) + _counted(state, uncounted).SerializeToString()
                expected = value[: _POSITION.size] if value is not None else b""
                writes.append(("EVAL", _SET_IF_UNCHANGED, 1, _user_key(user_id), expected, written))
            counts.update(item_id for item_id, at in uncounted if at <= events[-1].position)
        if not all(await self._connection.execute(writes)):
            return None
        deltas = [argument for item_id, count in counts.items() for argument in (-count, item_id)]
        (reached,) = await self._connection.execute(
            [("EVAL", _COUNT, 2, _APPLIED, _COUNTS, applied, events[-1].position, *deltas)]
        )
        return int(reached)

    async def _erase_from_users(self, user_id: str) -> None:
        """Removes a user's state and part in popularity; run again after a cut, it goes on where it was."""
        (value,) = await self._connection.execute([("GET", _user_key(user_id))])
        if value is not None:
            _, stored = _parsed(value)
            positions = dict(_uncounted(stored, 0))
            arguments = [part for item in stored.state.consumed_item_ids for part in (positions.get(item, 0), item)]
            await self._connection.execute(
                [("EVAL", _COUNT_ERASED, 3, _APPLIED, _COUNTS, _ERASING, user_id, *arguments)]
            )
        await self._connection.execute([("UNLINK", _user_key(user_id))])
        await self._connection.execute([("HDEL", _ERASING, user_id)])


def _user_key(user_id: str) -> str:
    return f"tm:user:{{{user_id}}}"


def _parsed(value: bytes | None) -> tuple[int, CountedUserState]:
    if value is None:
        return 0, CountedUserState()
    (position,) = _POSITION.unpack_from(value)
    return position, CountedUserState.FromString(value[_POSITION.size :])


def _uncounted(stored: CountedUserState, applied: int) -> list[tuple[str, int]]:
    """Consumed items above the position up to which everything has been counted."""
    pairs = zip(stored.uncounted_item_ids, stored.uncounted_positions, strict=True)
    return [(item_id, position) for item_id, position in pairs if position > applied]


def _counted(state: UserState, uncounted: Iterable[tuple[str, int]]) -> CountedUserState:
    value = CountedUserState(state=state)
    for item_id, position in uncounted:
        value.uncounted_item_ids.append(item_id)
        value.uncounted_positions.append(position)
    return value


def _item_scores(reply: Sequence[Any]) -> Iterable[tuple[bytes, Any]]:
    """Pairs of a WITHSCORES reply, which the client may have paired already."""
    if reply and isinstance(reply[0], (tuple, list)):
        return reply
    return zip(reply[::2], reply[1::2], strict=True)
