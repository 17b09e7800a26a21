"""The projector keeps the online store a view of the log, whatever fails in between."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tastemaker_server.errors import StoreUnavailableError
from tastemaker_server.event_log import LoggedEvent
from tastemaker_server.event_log.sqlite import SqliteEventLog
from tastemaker_server.online_store.sqlite import SqliteOnlineStore
from tastemaker_server.projector import Projector
from tastemaker_server.testing import OnlineStoreContract, make_event


class _FlakyStore(SqliteOnlineStore):
    """Fails the first `failures` applications."""

    failures = 0

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.has_applied = asyncio.Event()

    async def apply(self, events: Sequence[LoggedEvent], *, after: int) -> int:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailableError("online_store", "made to fail")
        applied = await super().apply(events, after=after)
        self.has_applied.set()
        return applied


@pytest.fixture
async def event_log(tmp_path: Path) -> AsyncIterator[SqliteEventLog]:
    log = SqliteEventLog(tmp_path / "events.db")
    yield log
    await log.close()


@pytest.fixture
async def online_store(tmp_path: Path) -> AsyncIterator[_FlakyStore]:
    store = _FlakyStore(tmp_path / "online.db", policy=OnlineStoreContract.POLICY)
    yield store
    await store.close()


async def test_waits_until_events_are_applied(event_log: SqliteEventLog, online_store: _FlakyStore) -> None:
    projector = Projector(event_log=event_log, online_store=online_store)
    await projector.catch_up()
    projector.start()

    async def feed(number: int) -> None:
        (appended,) = await event_log.append([make_event(str(number), user_id=f"u{number}")], 1)
        await projector.wait_until_applied(appended.position)
        assert await online_store.user_state(f"u{number}") is not None

    await asyncio.gather(*(feed(number) for number in range(100)))
    await projector.stop()


async def test_catches_up_over_many_batches(event_log: SqliteEventLog, online_store: _FlakyStore) -> None:
    for start in range(0, 5000, 500):
        await event_log.append([make_event(str(number), item_id="x") for number in range(start, start + 500)], 1)
    projector = Projector(event_log=event_log, online_store=online_store)
    assert await projector.catch_up() == await event_log.last_position()
    assert await online_store.popular(5) == [("x", 1)]


async def test_events_that_another_front_appended_and_never_applied_are_applied_unasked(
    event_log: SqliteEventLog, online_store: _FlakyStore
) -> None:
    projector = Projector(event_log=event_log, online_store=online_store)
    await projector.catch_up()
    projector.start()
    await event_log.append([make_event("a")], 1)
    await asyncio.wait_for(online_store.has_applied.wait(), 30)
    assert await online_store.user_state("u1") is not None
    await projector.stop()


async def test_store_that_was_emptied_is_filled_again_from_the_log(
    tmp_path: Path, event_log: SqliteEventLog, online_store: _FlakyStore
) -> None:
    projector = Projector(event_log=event_log, online_store=online_store)
    await event_log.append([make_event(str(number), item_id=f"i{number}") for number in range(3)], 1)
    await projector.catch_up()
    before = await online_store.user_state("u1")
    with sqlite3.connect(tmp_path / "online.db") as connection:
        connection.executescript("DELETE FROM users; DELETE FROM popularity; UPDATE progress SET applied_position = 0")
    connection.close()
    projector.start()
    (appended,) = await event_log.append([make_event("late", user_id="u2", item_id="i1")], 1)
    await projector.wait_until_applied(appended.position)
    assert await online_store.user_state("u1") == before
    assert await online_store.popular(1) == [("i1", 2)]
    await projector.stop()


async def test_failure_reaches_the_waiting_caller_and_is_made_good(
    event_log: SqliteEventLog, online_store: _FlakyStore
) -> None:
    projector = Projector(event_log=event_log, online_store=online_store)
    await projector.catch_up()
    projector.start()
    online_store.failures = 1
    (appended,) = await event_log.append([make_event("a")], 1)
    with pytest.raises(StoreUnavailableError, match="made to fail"):
        await projector.wait_until_applied(appended.position)
    with pytest.raises(StoreUnavailableError):
        projector.check()
    await projector.wait_until_applied(appended.position)  # the retry that callers are told to make
    projector.check()
    assert await online_store.user_state("u1") is not None
    await projector.stop()
