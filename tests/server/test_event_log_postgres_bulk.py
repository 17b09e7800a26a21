"""Many events at once into PostgreSQL: by COPY, in whole parts, whatever happens to writer and server."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable

import psycopg
import pytest
from tests.servers.postgres import PostgresServer

from tastemaker.v1.feedback_service_pb2 import FeedbackEvent
from tastemaker_server.errors import StoreUnavailableError
from tastemaker_server.event_log import EventLog
from tastemaker_server.event_log.postgres import PostgresEventLog
from tastemaker_server.event_log.postgres_appending import MAX_EVENTS_PER_COMMIT
from tastemaker_server.event_log.postgres_storing import COPIED_FROM
from tastemaker_server.testing import make_event

_MICROS_PER_DAY = 86_400_000_000
_LONG_AGO = 1_700_000_000_000_000

_WRITE_IN_BULK = """
import asyncio, sys
from tastemaker_server.event_log.postgres import PostgresEventLog
from tastemaker_server.testing.events import make_event

async def main():
    log = PostgresEventLog(sys.argv[1])
    events = [(make_event(f"e{number}"), 1) for number in range(int(sys.argv[2]))]
    print("begun", flush=True)
    appended = await log.append_received(events)
    print(sum(entry.is_new for entry in appended), flush=True)
    await log.close()

asyncio.run(main())
"""


def _writer(url: str, count: int) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", _WRITE_IN_BULK, url, str(count)], stdout=subprocess.PIPE, text=True)


def _bulk(count: int) -> list[tuple[FeedbackEvent, int]]:
    return [(make_event(f"e{number}"), 1) for number in range(count)]


async def _all(log: EventLog) -> list[int]:
    return [logged.position for logged in await log.read(0, 1_000_000)]


async def _statements(server: PostgresServer, url: str, work: Callable[[PostgresEventLog], Awaitable[None]]) -> str:
    """What the server logged of the statements of one log at work; its tables and partitions are there."""
    log = PostgresEventLog(url)
    await log.append([make_event("first")], 1)
    await log.close()
    server.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET log_statement = 'all'")
    before = len((server.folder / "log").read_text())
    log = PostgresEventLog(url)
    await work(log)
    await log.close()
    return (server.folder / "log").read_text()[before:]


async def test_many_events_go_by_copy_and_the_lock_waits_for_nobody(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    async def work(log: PostgresEventLog) -> None:
        await log.append_received(_bulk(COPIED_FROM))

    before, copied, said = (await _statements(postgres_server, postgres_url, work)).partition("COPY pg_temp.given")
    assert copied, before
    # In one message with what takes the lock: a COMMIT that is a message of its own would be logged as one.
    assert "SELECT base FROM head\n\t; COMMIT" in said
    assert "statement: COMMIT" not in said


async def test_few_events_go_along_with_their_statement(postgres_server: PostgresServer, postgres_url: str) -> None:
    async def work(log: PostgresEventLog) -> None:
        await log.append_received(_bulk(COPIED_FROM - 1))

    assert "COPY" not in await _statements(postgres_server, postgres_url, work)


async def test_copied_events_lie_in_the_partitions_of_their_days_and_nothing_else_stays(postgres_url: str) -> None:
    log = PostgresEventLog(postgres_url)
    for day in range(3):
        events = [(make_event(f"{day}-{number}"), _LONG_AGO + day * _MICROS_PER_DAY) for number in range(COPIED_FROM)]
        await log.append_received(events)
    with psycopg.connect(postgres_url) as connection:  # while the log's own session, which copied, goes on
        counts = connection.execute(
            "SELECT relname, count(*) FROM tastemaker.events e JOIN pg_class c ON c.oid = e.tableoid "
            "GROUP BY relname ORDER BY relname"
        ).fetchall()
        left = connection.execute("SELECT relname FROM pg_class WHERE relpersistence = 't'").fetchall()
    assert counts == [(f"events_202311{day}", COPIED_FROM) for day in (14, 15, 16)]
    assert left == []
    await log.close()


async def test_logs_that_copy_the_same_events_in_at_once_store_each_once(postgres_url: str) -> None:
    logs = [PostgresEventLog(postgres_url) for _ in range(2)]
    events = _bulk(3 * COPIED_FROM)
    one, other = await asyncio.gather(*(log.append_received(events) for log in logs))
    assert [entry.position for entry in one] == [entry.position for entry in other]
    assert all(first.is_new != second.is_new for first, second in zip(one, other, strict=True))
    assert len(await _all(logs[0])) == len(events)
    for log in logs:
        await log.close()


async def test_user_who_may_make_no_temporary_tables_stores_many_events_all_the_same(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.make_database()
    database = url.rpartition("/")[2]
    postgres_server.execute(f"CREATE ROLE {database}_guest LOGIN PASSWORD 'guest'")
    postgres_server.execute(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC")
    postgres_server.execute(f"CREATE SCHEMA tastemaker AUTHORIZATION {database}_guest", database)
    log = PostgresEventLog(postgres_server.url(database, f"{database}_guest", "guest"))
    appended = await log.append_received(_bulk(COPIED_FROM))
    assert [entry.position for entry in appended] == list(range(1, COPIED_FROM + 1))
    await log.close()


@pytest.mark.slow
async def test_killed_bulk_writer_leaves_whole_parts_in_order_and_no_lock_and_is_run_again(postgres_url: str) -> None:
    count = 60_000
    log = PostgresEventLog(postgres_url)
    with _writer(postgres_url, count) as writer:
        while await log.last_position() == 0:
            assert writer.poll() is None
        writer.send_signal(signal.SIGKILL)
    assert writer.returncode == -signal.SIGKILL
    stored = [logged.event.event_id for logged in await log.read(0, 1_000_000)]
    assert stored == [f"e{number}" for number in range(len(stored))]
    assert 0 < len(stored) < count
    assert len(stored) % MAX_EVENTS_PER_COMMIT == 0
    await log.append([make_event("after")], 1)
    appended = await log.append_received(_bulk(count))
    assert [entry.is_new for entry in appended] == [False] * len(stored) + [True] * (count - len(stored))
    assert len(await _all(log)) == count + 1
    await log.close()


@pytest.mark.slow
async def test_server_killed_while_many_events_are_copied_in_keeps_whole_parts(own_postgres: PostgresServer) -> None:
    log = PostgresEventLog(own_postgres.make_database())
    events = _bulk(60_000)
    copying = asyncio.create_task(log.append_received(events))
    while await log.last_position() == 0:
        assert not copying.done()
    await asyncio.to_thread(own_postgres.kill)
    with pytest.raises(StoreUnavailableError):
        await copying
    await asyncio.to_thread(own_postgres.start)
    stored = await _all(log)
    assert 0 < len(stored) < len(events)
    assert len(stored) % MAX_EVENTS_PER_COMMIT == 0
    appended = await log.append_received(events)
    assert sum(entry.is_new for entry in appended) == len(events) - len(stored)
    assert [entry.position for entry in appended] == await _all(log)
    await log.close()
