"""The event log in PostgreSQL keeps the contract, for several fronts at once, and survives what happens to servers."""

import asyncio
import datetime
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.servers.postgres import PostgresServer

from tastemaker_server.errors import EventIdReusedError, SettingsError, StoreUnavailableError
from tastemaker_server.event_log import EventLog
from tastemaker_server.event_log.erasures import erasure_digest
from tastemaker_server.event_log.postgres import PostgresEventLog
from tastemaker_server.testing import EventLogContract, make_event

_MICROS_PER_DAY = 86_400_000_000
_LONG_AGO = 1_700_000_000_000_000

_WRITE = """
import asyncio, sys
from tastemaker_server.event_log.postgres import PostgresEventLog
from tastemaker_server.testing.events import make_event

async def main():
    url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    log = PostgresEventLog(url)
    async def write(part):
        for number in range(count):
            await log.append([make_event(f"{name}-{part}-{number}-{event}") for event in range(3)], 1)
            print(f"{name}-{part}-{number}", flush=True)
    await asyncio.gather(*(write(part) for part in range(4)))
    await log.close()

asyncio.run(main())
"""


class TestPostgresEventLog(EventLogContract):
    @pytest.fixture
    async def event_log(self, postgres_url: str) -> AsyncIterator[PostgresEventLog]:
        log = PostgresEventLog(postgres_url)
        yield log
        await log.close()


def _writer(url: str, name: str, count: int) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", _WRITE, url, name, str(count)], stdout=subprocess.PIPE, text=True)


async def _all(log: EventLog) -> list[int]:
    return [logged.position for logged in await log.read(0, 1_000_000)]


@pytest.mark.slow
async def test_reader_misses_nothing_while_several_processes_append_to_a_new_database(postgres_url: str) -> None:
    with ExitStack() as stack:
        writers = [stack.enter_context(_writer(postgres_url, f"w{number}", 60)) for number in range(3)]
        log = PostgresEventLog(postgres_url)
        followed: list[int] = []
        ended = False
        while not ended:
            ended = all(writer.poll() is not None for writer in writers)  # and then read once more
            while read := await log.read(followed[-1] if followed else 0, 50):
                followed += [logged.position for logged in read]
            await asyncio.sleep(0)
            for writer in writers:  # their pipes must not fill up
                assert writer.stdout is not None
                if not ended:
                    writer.stdout.readline()
        assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert followed == await _all(log)
    assert len(followed) == 3 * 4 * 60 * 3
    await log.close()


@pytest.mark.slow
async def test_killed_writer_loses_no_acknowledged_event_leaves_no_half_call_and_no_lock(postgres_url: str) -> None:
    with _writer(postgres_url, "w", 1_000_000) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().strip() for _ in range(200)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += [line.strip() for line in writer.stdout if line.endswith("\n")]
    log = PostgresEventLog(postgres_url)
    stored = [logged.event.event_id for logged in await log.read(0, 1_000_000)]
    assert set(stored) >= {f"{name}-{event}" for name in acknowledged for event in range(3)}
    assert len(stored) % 3 == 0
    assert len(stored) == len(set(stored))
    await log.append([make_event("after")], 1)
    await log.close()


async def test_fronts_that_send_the_same_ids_at_once_store_each_once(postgres_url: str) -> None:
    logs = [PostgresEventLog(postgres_url) for _ in range(3)]
    events = [make_event(f"e{number}") for number in range(50)]
    results = await asyncio.gather(
        *(log.append(events[start : start + 5], 1) for start in range(0, 50, 5) for log in logs),
        *(log.append(events[::-1], 1) for log in logs),
    )
    assert sum(appended.is_new for result in results for appended in result) == 50
    positions = {logged.event.event_id: logged.position for logged in await logs[0].read(0, 1000)}
    assert sorted(positions) == sorted(event.event_id for event in events)
    assert {appended.position for result in results for appended in result} == set(positions.values())
    for log in logs:
        await log.close()


async def test_event_of_another_front_with_other_content_is_refused_and_its_neighbours_are_stored(
    postgres_url: str,
) -> None:
    first, second = PostgresEventLog(postgres_url), PostgresEventLog(postgres_url)
    await first.append([make_event("a", item_id="i1")], 1)
    results = await asyncio.gather(
        second.append([make_event("b")], 1),
        second.append([make_event("a", item_id="i2"), make_event("c")], 1),
        second.append([make_event("d")], 1),
        return_exceptions=True,
    )
    assert isinstance(results[1], EventIdReusedError)
    assert [logged.event.event_id for logged in await first.read(0, 10)] == ["a", "b", "d"]
    await first.close()
    await second.close()


@pytest.mark.slow
async def test_lock_of_a_frozen_front_fails_calls_instead_of_hanging_them(
    postgres_url: str,
) -> None:
    log = PostgresEventLog(postgres_url)
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT 1 FROM tastemaker.log_head FOR UPDATE")
        with pytest.raises(StoreUnavailableError, match="lock timeout"):
            await log.append([make_event("a")], 1)
        other.rollback()
    assert [appended.is_new for appended in await log.append([make_event("a")], 1)] == [True]
    await log.close()


async def test_events_lie_in_the_partition_of_their_day_and_days_never_go_back(
    postgres_url: str,
) -> None:
    log = PostgresEventLog(postgres_url)
    tomorrow = int(datetime.datetime.now(datetime.UTC).timestamp() * 1e6) + 2 * _MICROS_PER_DAY
    for number, received in enumerate((_LONG_AGO, _LONG_AGO + _MICROS_PER_DAY, _LONG_AGO, tomorrow)):
        await log.append([make_event(str(number))], received)
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute(
            "SELECT relname, day FROM tastemaker.events e JOIN pg_class c ON c.oid = e.tableoid ORDER BY position"
        )
        partitions = [(partition, day) for partition, day in rows.fetchall()]
        (today,) = connection.execute("SELECT (now() AT TIME ZONE 'utc')::date").fetchone() or (None,)
    days = [datetime.date(2023, 11, 14), datetime.date(2023, 11, 15), datetime.date(2023, 11, 15), today]
    assert partitions == [(f"events_{day:%Y%m%d}", day) for day in days]
    assert [logged.event.event_id for logged in await log.read(0, 10)] == ["0", "1", "2", "3"]
    await log.close()


async def test_partitions_of_the_next_days_are_made_ahead(postgres_url: str) -> None:
    log = PostgresEventLog(postgres_url)
    await log.append([make_event("a")], 1)
    await log.close()
    today = datetime.datetime.now(datetime.UTC).date()
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute("SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid "
                                  "WHERE child.relname LIKE 'events_2%'").fetchall()  # fmt: skip
    made = {name for (name,) in rows}
    assert made >= {f"events_{today + datetime.timedelta(days=ahead):%Y%m%d}" for ahead in range(1, 4)}


async def test_put_away_day_keeps_its_ids(postgres_url: str) -> None:
    log = PostgresEventLog(postgres_url)
    await log.append([make_event("old")], _LONG_AGO)
    await log.append([make_event("new")], _LONG_AGO + _MICROS_PER_DAY)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE tastemaker.events DETACH PARTITION tastemaker.events_20231114 CONCURRENTLY")
        connection.execute("DROP TABLE tastemaker.events_20231114")
    assert [appended.is_new for appended in await log.append([make_event("old")], 1)] == [False]
    with pytest.raises(EventIdReusedError):
        await log.append([make_event("old", item_id="other")], 1)
    assert [logged.event.event_id for logged in await log.read(0, 10)] == ["new"]
    await log.close()


async def test_reading_looks_into_the_partitions_that_it_needs(postgres_url: str) -> None:
    log = PostgresEventLog(postgres_url)
    for day in range(5):
        await log.append([make_event(f"{day}-{number}") for number in range(3)], _LONG_AGO + day * _MICROS_PER_DAY)
    await log.close()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        await _read_and_forget(postgres_url, 10, 2)
        rows: list[Any] = []
        deadline = time.monotonic() + 30
        while not rows and time.monotonic() < deadline:  # a session tells its counts when it ends, after its client
            time.sleep(0.02)
            rows = connection.execute(
                "SELECT relname FROM pg_stat_all_tables WHERE relname LIKE 'events_2023%' AND idx_scan > 0"
            ).fetchall()
    assert rows == [("events_20231117",)]


async def _read_and_forget(url: str, after: int, limit: int) -> None:
    log = PostgresEventLog(url)
    assert len(await log.read(after, limit)) == limit
    await log.close()


@pytest.mark.slow
async def test_log_works_again_after_the_server_was_killed(own_postgres: PostgresServer) -> None:
    log = PostgresEventLog(own_postgres.make_database())
    await log.append([make_event("before")], 1)
    own_postgres.kill()
    for call in (log.append([make_event("during")], 1), log.read(0, 10), log.check()):
        with pytest.raises(StoreUnavailableError, match="event_log is unavailable"):
            await call
    own_postgres.start()
    await log.check()
    assert [appended.is_new for appended in await log.append([make_event("during"), make_event("before")], 1)] == [
        True,
        False,
    ]
    assert [logged.event.event_id for logged in await log.read(0, 10)] == ["before", "during"]
    await log.close()


@pytest.mark.slow
async def test_server_that_was_restarted_between_two_calls_fails_neither(own_postgres: PostgresServer) -> None:
    log = PostgresEventLog(own_postgres.make_database())
    await log.append([make_event("a")], 1)
    await log.check()
    own_postgres.stop()
    own_postgres.start()
    await log.append([make_event("b")], 1)
    assert len(await log.read(0, 10)) == 2
    await log.close()


@pytest.mark.slow
async def test_server_that_does_not_answer_fails_calls_and_serves_when_it_does(own_postgres: PostgresServer) -> None:
    log = PostgresEventLog(own_postgres.make_database())
    await log.append([make_event("a")], 1)
    await log.check()
    frozen = own_postgres.processes()
    for process in frozen:
        process.suspend()
    try:
        results = await asyncio.gather(log.append([make_event("b")], 1), log.read(0, 10), return_exceptions=True)
    finally:
        for process in frozen:
            process.resume()
    assert [type(result) for result in results] == [StoreUnavailableError, StoreUnavailableError]
    await log.append([make_event("b")], 1)
    assert {logged.event.event_id for logged in await log.read(0, 10)} == {"a", "b"}
    await log.close()


async def test_commit_is_synchronous_where_the_database_has_it_off(postgres_server: PostgresServer) -> None:
    url = postgres_server.make_database()
    postgres_server.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = off")
    log = PostgresEventLog(url)
    with log._reader.connection() as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
    await log.close()


def test_start_with_a_wrong_password_names_the_setting_and_not_the_password(postgres_server: PostgresServer) -> None:
    with pytest.raises(SettingsError) as raised:
        PostgresEventLog(postgres_server.url("postgres", password="wrong-one"))
    (problem,) = raised.value.problems
    assert problem.startswith("stores.event_log: postgresql://tastemaker:***@127.0.0.1:")
    assert "password authentication failed" in problem
    assert "set the password in the URL, in stores.event_log_password_file" in problem
    assert "wrong-one" not in problem


def test_start_with_an_unknown_database_names_it(postgres_server: PostgresServer) -> None:
    with pytest.raises(SettingsError, match=r'stores\.event_log: .* database "nowhere" does not exist; create it'):
        PostgresEventLog(postgres_server.url("nowhere"))


def test_start_without_a_server_says_where_it_looked(free_port: int) -> None:
    with pytest.raises(StoreUnavailableError, match=r"stores\.event_log: .*refused.*; start PostgreSQL there, or mend"):
        PostgresEventLog(f"postgresql://me:secret@127.0.0.1:{free_port}/db")


@pytest.mark.slow
def test_start_with_a_server_that_does_not_answer_gives_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me:secret@127.0.0.1:{silent.getsockname()[1]}/db"
        with pytest.raises(StoreUnavailableError, match=r"stores\.event_log: .*timeout.*; start PostgreSQL there"):
            PostgresEventLog(url)


@pytest.mark.parametrize("url", ["postgresql://u:geheim/x@[half/db", "postgresql://u:geheim@host:port/db?what=1"])
def test_url_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match=r"stores\.event_log: .* is not a URL that libpq reads") as raised:
        PostgresEventLog(url)
    assert "geheim" not in str(raised.value)


async def test_user_without_rights_is_told_which(postgres_server: PostgresServer) -> None:
    url = postgres_server.make_database()
    database = url.rpartition("/")[2]
    postgres_server.execute(f"CREATE ROLE {database}_guest LOGIN PASSWORD 'guest'")
    guest = postgres_server.url(database, f"{database}_guest", "guest")
    with pytest.raises(SettingsError, match=r"stores\.event_log: .*permission denied.*; GRANT CREATE ON DATABASE"):
        PostgresEventLog(guest)
    postgres_server.execute(f"CREATE SCHEMA tastemaker AUTHORIZATION {database}_guest", database)
    log = PostgresEventLog(guest)
    await log.append([make_event("a")], 1)
    await log.close()


def test_database_of_a_newer_version_is_refused(postgres_server: PostgresServer, postgres_url: str) -> None:
    asyncio.run(PostgresEventLog(postgres_url).close())
    postgres_server.execute("UPDATE tastemaker.schema_version SET version = 99", postgres_url.rpartition("/")[2])
    with pytest.raises(SettingsError, match=r"its tables have version 99, and this Tastemaker knows up to 2"):
        PostgresEventLog(postgres_url)


async def test_database_of_the_version_before_is_brought_up_to_date(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    database = postgres_url.rpartition("/")[2]
    log = PostgresEventLog(postgres_url)
    await log.append([make_event("a")], 1)
    await log.close()
    postgres_server.execute("DROP TABLE tastemaker.erasures", database)
    postgres_server.execute("UPDATE tastemaker.schema_version SET version = 1", database)
    for _ in range(2):
        log = PostgresEventLog(postgres_url)
        assert [logged.event for logged in await log.read(0, 10)] == [make_event("a")]
        assert await log.erased_users(0) == frozenset()
        await log.close()


async def test_erasure_that_was_cut_off_counts_for_whatever_was_made_of_the_log(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    log = PostgresEventLog(postgres_url)
    await log.append([make_event("a")], 1)
    database = postgres_url.rpartition("/")[2]
    postgres_server.execute("ALTER TABLE tastemaker.event_keys RENAME TO away", database)
    with pytest.raises(StoreUnavailableError):
        await log.erase_user("u1")
    postgres_server.execute("ALTER TABLE tastemaker.away RENAME TO event_keys", database)
    assert await log.erased_users(10**9) == {erasure_digest("u1")}
    assert await log.erase_user("u1") == 1
    assert await log.erased_users(10**9) == frozenset()
    await log.close()


def test_database_of_another_encoding_is_refused(postgres_server: PostgresServer) -> None:
    url = postgres_server.make_database(ENCODING="'LATIN1'", TEMPLATE="template0")
    with pytest.raises(SettingsError, match="its encoding is LATIN1 and ids are UTF-8"):
        PostgresEventLog(url)


async def test_password_comes_from_a_file(postgres_server: PostgresServer, tmp_path: Path) -> None:
    url = postgres_server.make_database()
    password_file = tmp_path / "password"
    with pytest.raises(SettingsError, match=r"stores\.event_log_password_file: .* cannot be read"):
        PostgresEventLog(url.replace(":let-me-in", ""), password_file=password_file)
    password_file.write_text("let-me-in\n")
    log = PostgresEventLog(url.replace(":let-me-in", ""), password_file=password_file)
    await log.check()
    await log.close()


@pytest.mark.slow
def test_fronts_that_start_at_once_make_the_tables_once(postgres_url: str) -> None:
    code = (
        "import sys; from tastemaker_server.event_log.postgres import PostgresEventLog; PostgresEventLog(sys.argv[1])"
    )
    starts = [
        subprocess.Popen([sys.executable, "-c", code, postgres_url], stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    ended = [(start.communicate(timeout=60)[1], start.returncode) for start in starts]
    assert ended == [("", 0)] * 4
