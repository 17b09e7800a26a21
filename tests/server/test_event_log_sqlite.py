"""The embedded event log keeps the contract, and survives what happens to processes and disks."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tastemaker_server.errors import StoreUnavailableError
from tastemaker_server.event_log.sqlite import SqliteEventLog
from tastemaker_server.testing import EventLogContract, make_event

_WRITE_FOREVER = """
import asyncio, sys
from pathlib import Path
from tastemaker_server.event_log.sqlite import SqliteEventLog
from tastemaker_server.testing.events import make_event

async def main():
    log = SqliteEventLog(Path(sys.argv[1]))
    for number in range(1_000_000):
        await log.append([make_event(f"e{number}-{part}") for part in range(3)], 1)
        print(number, flush=True)

asyncio.run(main())
"""


class TestSqliteEventLog(EventLogContract):
    @pytest.fixture
    async def event_log(self, tmp_path: Path) -> AsyncIterator[SqliteEventLog]:
        log = SqliteEventLog(tmp_path / "events.db")
        yield log
        await log.close()


async def test_kill_loses_no_acknowledged_event_and_leaves_no_half_call(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with subprocess.Popen([sys.executable, "-c", _WRITE_FOREVER, path], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(200)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in writer.stdout if line.endswith("\n")]
    log = SqliteEventLog(path)
    stored = [logged.event.event_id for logged in await log.read(0, 1_000_000)]
    await log.close()
    assert set(stored) >= {f"e{number}-{part}" for number in acknowledged for part in range(3)}
    assert len(stored) % 3 == 0
    assert len(stored) == len(set(stored))


async def test_events_survive_closing_and_opening(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path / "events.db")
    await log.append([make_event("a")], 1)
    await log.close()
    log = SqliteEventLog(tmp_path / "events.db")
    assert len(await log.read(0, 10)) == 1
    await log.close()


def test_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    path.write_bytes(b"this is not a database, but it is long enough to look at" * 10)
    with pytest.raises(StoreUnavailableError, match=r"event_log is unavailable: .*events\.db: file is not a database"):
        SqliteEventLog(path)


async def test_full_disk_fails_the_call_and_stores_nothing(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path / "events.db")
    await log.append([make_event("before")], 1)
    # SQLite's own limit stands for a full disk: the same error, from the same place.
    await log._writer.submit(lambda connection: connection.execute("PRAGMA max_page_count = 8").fetchall())
    big = [make_event(f"e{number}", item_id="x" * 200) for number in range(500)]
    with pytest.raises(StoreUnavailableError, match="full"):
        await log.append(big, 1)
    assert [logged.event.event_id for logged in await log.read(0, 1000)] == ["before"]
    await log._writer.submit(lambda connection: connection.execute("PRAGMA max_page_count = 100000").fetchall())
    assert all(appended.is_new for appended in await log.append(big, 1))
    await log.close()


async def test_caller_who_goes_away_does_not_disturb_the_others(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path / "events.db")
    impatient = asyncio.create_task(log.append([make_event("impatient")], 1))
    await asyncio.sleep(0)
    impatient.cancel()
    await log.append([make_event("patient")], 1)
    assert {logged.event.event_id for logged in await log.read(0, 10)} == {"impatient", "patient"}
    await log.close()
