"""Applying the log to Redis is exactly once, wherever it is cut off and whoever else applies: as SQLite."""

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tastemaker.v1 import feedback_service_pb2 as pb
from tastemaker_server.event_log import LoggedEvent
from tastemaker_server.online_store import OnlineStore
from tastemaker_server.online_store.redis import RedisOnlineStore
from tastemaker_server.online_store.redis_connection import Command, RedisConnection
from tastemaker_server.online_store.sqlite import SqliteOnlineStore
from tastemaker_server.testing import logged, make_event
from tastemaker_server.user_state import StatePolicy

# Few items are kept, so that states are cut all the time.
_POLICY = StatePolicy(frozenset({pb.EVENT_TYPE_CONSUME}), max_history_events=4, max_consumed_items=3)
_USERS = [f"u{number}" for number in range(4)]


class _CutOffError(Exception):
    """Stands for a kill."""


class _CutConnection(RedisConnection):
    """Sends each command by itself, and is cut off after `commands_left` of them."""

    commands_left = 10**9

    async def execute(self, commands: Sequence[Command], *, timeout_seconds: float | None = None) -> list[Any]:
        replies: list[Any] = []
        for command in commands:
            if self.commands_left == 0:
                raise _CutOffError
            self.commands_left -= 1
            replies += await super().execute([command], timeout_seconds=timeout_seconds)
        return replies


def _log(seed: int, count: int) -> list[LoggedEvent]:
    """Events of few users with few items, some twice, some late, some that do not consume; positions have gaps."""
    rng = random.Random(seed)  # noqa: S311  # nothing secret
    kinds = [pb.EVENT_TYPE_CONSUME, pb.EVENT_TYPE_CONSUME, pb.EVENT_TYPE_VIEW]
    return [
        logged(
            3 * number,
            make_event(
                str(number),
                user_id=rng.choice(_USERS),
                item_id=f"i{rng.randrange(6)}",
                event_type=rng.choice(kinds),
                seconds=rng.randrange(50),
            ),
        )
        for number in range(1, count + 1)
    ]


async def _apply_rest(store: OnlineStore, log: Sequence[LoggedEvent], batch: int) -> None:
    """As the projector does."""
    while rest := [event for event in log if event.position > (applied := await store.applied_position())]:
        await store.apply(rest[:batch], after=applied)


async def _seen(store: OnlineStore) -> list[object]:
    return [await store.applied_position(), await store.popular(100), *[await store.user_state(u) for u in _USERS]]


@pytest.fixture
async def expected(tmp_path: Path) -> Any:
    """Tells what SQLite has after a log."""
    opened: list[SqliteOnlineStore] = []

    async def of(log: Sequence[LoggedEvent]) -> list[object]:
        store = SqliteOnlineStore(tmp_path / f"{len(opened)}.db", policy=_POLICY)
        opened.append(store)
        await _apply_rest(store, log, len(log))
        return await _seen(store)

    yield of
    for store in opened:
        await store.close()


def _cut_store(url: str, commands_left: int) -> RedisOnlineStore:
    store = RedisOnlineStore(url, policy=_POLICY, timeout_seconds=10)
    connection = _CutConnection(url, timeout_seconds=10)
    connection.commands_left = commands_left
    store._connection = connection
    return store


async def _close(store: RedisOnlineStore) -> None:
    await store._connection.close()
    await store.close()


@pytest.mark.slow
@pytest.mark.parametrize("next_batch", [1, 7, 30])
async def test_cut_off_after_any_command_it_ends_as_sqlite(
    start_redis: Callable[..., Any], expected: Any, next_batch: int
) -> None:
    redis = start_redis()
    log = _log(next_batch, 30)
    wanted = await expected(log)
    for cut in range(100):
        redis.command("FLUSHALL")
        store = _cut_store(redis.url, cut)
        whole = False
        try:
            await store.apply(log[:12], after=0)
            await store.apply(log[12:24], after=log[11].position)
            whole = True
        except _CutOffError:
            pass
        await _close(store)
        other = RedisOnlineStore(redis.url, policy=_POLICY, timeout_seconds=10)
        await _apply_rest(other, log, next_batch)
        assert await _seen(other) == wanted, f"cut off after {cut} commands"
        await other.close()
        if whole:
            break
    else:
        raise AssertionError("never ran to the end")
    assert cut > 12


@pytest.mark.parametrize("seed", range(5))
async def test_several_at_once_with_other_bounds_some_of_them_cut_off_end_as_sqlite(
    start_redis: Callable[..., Any], expected: Any, seed: int
) -> None:
    redis = start_redis()
    rng = random.Random(seed)  # noqa: S311  # nothing secret
    log = _log(seed, 200)

    async def run(commands_left: int, batch: int) -> None:
        store = _cut_store(redis.url, commands_left)
        try:
            await _apply_rest(store, log, batch)
        except _CutOffError:
            pass
        finally:
            await _close(store)

    cut = [run(rng.randrange(60), rng.randrange(1, 50)) for _ in range(4)]
    whole = [run(10**9, batch) for batch in (3, 17, 200)]
    await asyncio.gather(*cut, *whole)
    store = RedisOnlineStore(redis.url, policy=_POLICY, timeout_seconds=10)
    assert await _seen(store) == await expected(log)
    await store.close()


async def test_erasure_that_is_cut_off_and_run_again_subtracts_once(
    start_redis: Callable[..., Any], expected: Any
) -> None:
    redis = start_redis()
    log = [logged(n, make_event(str(n), user_id=f"u{n % 2}", item_id=f"i{n // 2}")) for n in range(2, 8)]
    for cut in range(5):
        redis.command("FLUSHALL")
        store = _cut_store(redis.url, 10**9)
        await _apply_rest(store, log, 10)
        connection: Any = store._connection
        connection.commands_left = cut
        try:
            await store.erase_user("u0")
        except _CutOffError:
            connection.commands_left = 10**9
            await store.erase_user("u0")
        assert await store.popular(10) == [("i1", 1), ("i2", 1), ("i3", 1)]
        assert redis.command("EXISTS", "tm:{popular}:erasing").strip() == "0"
        await _close(store)
