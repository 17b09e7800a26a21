"""`export-events` writes the log to Parquet files, whole or visibly not, and goes on from an earlier export."""

import asyncio
import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from tests.servers.postgres import PostgresServer

from tastemaker.v1 import feedback_service_pb2 as pb
from tastemaker_server.errors import SettingsError, StoreUnavailableError
from tastemaker_server.event_log import EventLog, LoggedEvent
from tastemaker_server.event_log.export import export_events
from tastemaker_server.event_log.postgres import PostgresEventLog
from tastemaker_server.event_log.sqlite import SqliteEventLog
from tastemaker_server.testing import make_event

_NOW = 1_700_000_000_000_000


class _BreaksDown(SqliteEventLog):
    """Its third page cannot be read."""

    pages = 0

    async def read(self, after: int, limit: int) -> list[LoggedEvent]:
        self.pages += 1
        if self.pages == 3:
            raise StoreUnavailableError("event_log", "made to fail")
        return await super().read(after, limit)


async def _fill(log: EventLog, count: int = 25, start: int = 0) -> None:
    rated = make_event("rated", event_type=pb.EVENT_TYPE_RATE, seconds=7)
    rated.rating = 3.5
    await log.append([rated] if not start else [], _NOW)
    await log.append(
        [make_event(f"e{number}", user_id=f"u{number}") for number in range(start + 1, start + count)], _NOW
    )


def _rows(folder: Path) -> list[dict[str, Any]]:
    manifest = json.loads((folder / "export.json").read_text())
    rows: list[dict[str, Any]] = []
    for file in manifest["files"]:
        data = (folder / file["name"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file["sha256"]
        read = parquet.ParquetFile(folder / file["name"]).read().to_pylist()
        assert len(read) == file["count"]
        rows += read
    assert len(rows) == manifest["count"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["export.json", *(file["name"] for file in manifest["files"])]
    )
    return rows


def _run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tastemaker_server.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _config(folder: Path, event_log: str = "sqlite") -> Path:
    config = folder / "front.toml"
    config.write_text(f'[server]\ndata_dir = "{folder}/front"\n[stores]\nevent_log = "{event_log}"\n')
    return config


async def test_export_has_every_event_in_the_order_of_the_log(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path / "events.db")
    await _fill(log)
    export = await export_events(log, tmp_path / "out", events_per_file=10)
    await log.close()
    rows = _rows(tmp_path / "out")
    assert [file.count for file in export.files] == [10, 10, 5]
    assert rows[0] == {
        "user_id": "u1", "item_id": "i1", "event_type": "RATE", "rating": 3.5,
        "event_time_micros": 7_000_000, "position": 1,
    }  # fmt: skip
    assert rows[1] == {
        "user_id": "u1", "item_id": "i1", "event_type": "CONSUME", "rating": None,
        "event_time_micros": _NOW, "position": 2,
    }  # fmt: skip
    assert [row["position"] for row in rows] == list(range(1, 26))
    assert (export.first_position, export.last_position) == (1, 25)


async def test_next_export_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path / "events.db")
    await _fill(log)
    first = await export_events(log, tmp_path / "1")
    await _fill(log, start=100)
    second = await export_events(log, tmp_path / "2", after=first.last_position)
    third = await export_events(log, tmp_path / "3", after=second.last_position)
    await log.close()
    assert [row["user_id"] for row in _rows(tmp_path / "2")] == [f"u{number}" for number in range(101, 125)]
    assert _rows(tmp_path / "3") == []
    assert (third.first_position, third.last_position) == (None, second.last_position)


async def test_an_export_is_replaced_only_when_asked_for(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path / "events.db")
    await _fill(log)
    await export_events(log, tmp_path / "out", events_per_file=10)
    await _fill(log, start=100)
    with pytest.raises(SettingsError, match="has an export already; name a new folder, or give --replace"):
        await export_events(log, tmp_path / "out")
    assert len(_rows(tmp_path / "out")) == 25
    await export_events(log, tmp_path / "out", replace=True)
    await log.close()
    assert len(_rows(tmp_path / "out")) == 49


async def test_export_that_broke_off_is_not_whole_and_is_made_anew(tmp_path: Path) -> None:
    log = _BreaksDown(tmp_path / "events.db")
    await _fill(log)
    with pytest.raises(StoreUnavailableError):
        await export_events(log, tmp_path / "out", events_per_file=10)
    assert not (tmp_path / "out" / "export.json").exists()
    await export_events(log, tmp_path / "out", events_per_file=20)
    await log.close()
    assert len(_rows(tmp_path / "out")) == 25


def test_command_exports_sqlite_and_tells_what_it_did(tmp_path: Path) -> None:
    (tmp_path / "front").mkdir()

    async def fill() -> None:
        log = SqliteEventLog(tmp_path / "front" / "events.db")
        await _fill(log)
        await log.close()

    asyncio.run(fill())
    ended = _run("export-events", "--config", _config(tmp_path), "--out", tmp_path / "out", "--after", 5)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"20 events in 1 files, up to position 25: {tmp_path / 'out'}\n"
    assert [row["position"] for row in _rows(tmp_path / "out")] == list(range(6, 26))
    again = _run("--config", _config(tmp_path), "export-events", "--out", tmp_path / "out")
    assert again.returncode == 2
    assert again.stderr == f"error: --out: {tmp_path / 'out'} has an export already; name a new folder, or give --replace\n"  # fmt: skip # noqa: E501  # one line on the screen


def test_command_exports_postgresql(tmp_path: Path, postgres_url: str) -> None:
    async def fill() -> None:
        log = PostgresEventLog(postgres_url)
        await _fill(log)
        await log.close()

    asyncio.run(fill())
    ended = _run("export-events", "--config", _config(tmp_path, postgres_url), "--out", tmp_path / "out")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [row["position"] for row in _rows(tmp_path / "out")] == list(range(1, 26))


@pytest.mark.slow
async def test_postgresql_killed_amid_an_export_ends_it_and_it_is_made_anew(
    tmp_path: Path, own_postgres: PostgresServer
) -> None:
    url, count = own_postgres.make_database(), 100_000
    log = PostgresEventLog(url)
    await log.append_received([(make_event(f"e{number}"), _NOW) for number in range(count)])
    await log.close()
    out = tmp_path / "out"
    arguments = ["export-events", "--config", str(_config(tmp_path, url)), "--out", str(out)]
    command = [sys.executable, "-m", "tastemaker_server.main", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as exporter:
        while not (out.is_dir() and list(out.iterdir())):  # the first page has been read
            assert exporter.poll() is None
        exporter.send_signal(signal.SIGSTOP)
        own_postgres.kill()
        exporter.send_signal(signal.SIGCONT)
        printed, told = exporter.communicate(timeout=60)
    assert (exporter.returncode, printed) == (1, "")
    assert "error: event_log is unavailable: no connection to PostgreSQL" in told
    assert "Traceback" not in told
    assert not (out / "export.json").exists()
    own_postgres.start()
    assert _run(*arguments).returncode == 0
    assert [row["position"] for row in _rows(out)] == list(range(1, count + 1))


def test_missing_event_log_is_named_and_not_made(tmp_path: Path) -> None:
    ended = _run("export-events", "--config", _config(tmp_path), "--out", tmp_path / "out")
    assert ended.returncode == 2
    assert f"error: server.data_dir: {tmp_path}/front/events.db does not exist" in ended.stderr
    assert not (tmp_path / "front").exists()


def test_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "front").mkdir()
    asyncio.run(SqliteEventLog(tmp_path / "front" / "events.db").close())
    ended = _run("export-events", "--config", _config(tmp_path), "--out", tmp_path)
    assert ended.returncode == 2
    assert "has other things in it" in ended.stderr
    assert "Traceback" not in ended.stderr
