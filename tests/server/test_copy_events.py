"""`copy-events` moves a log from SQLite to PostgreSQL: order and times kept, again and again without harm."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tastemaker_server.errors import CommandError
from tastemaker_server.event_log.copying import copy_events
from tastemaker_server.event_log.postgres import PostgresEventLog
from tastemaker_server.event_log.sqlite import SqliteEventLog
from tastemaker_server.testing import make_event

_NOW = 1_700_000_000_000_000


async def _fill(path: Path) -> None:
    log = SqliteEventLog(path)
    for number in range(60):
        events = [make_event(f"e{number}-{part}", user_id=f"u{part}") for part in range(3)]
        await log.append(events, _NOW + number * 3_600_000_000)
    await log.erase_user("u1")
    await log.close()


def _copy(source: Path, target: Path) -> "subprocess.CompletedProcess[str]":
    command = [
        sys.executable,
        "-m",
        "tastemaker_server.main",
        "copy-events",
        "--from-config",
        source,
        "--config",
        target,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


async def test_copy_keeps_order_and_times_and_may_be_run_again(tmp_path: Path, postgres_url: str) -> None:
    (tmp_path / "old").mkdir()
    await _fill(tmp_path / "old" / "events.db")
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    old.write_text(f'[server]\ndata_dir = "{tmp_path}/old"\n')
    new.write_text(f'[server]\ndata_dir = "{tmp_path}/new"\n[stores]\nevent_log = "{postgres_url}"\n')
    first = await asyncio.to_thread(_copy, old, new)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == "120 events copied, 0 were there before, up to position 180\n"
    again = await asyncio.to_thread(_copy, old, new)
    assert again.stdout == "0 events copied, 120 were there before, up to position 180\n"

    source, target = SqliteEventLog(tmp_path / "old" / "events.db"), PostgresEventLog(postgres_url)
    copied, original = await target.read(0, 1000), await source.read(0, 1000)
    assert [(logged.event, logged.received_time_micros) for logged in copied] == [
        (logged.event, logged.received_time_micros) for logged in original
    ]
    await source.close()
    await target.close()


async def test_logs_that_disagree_are_told(tmp_path: Path, postgres_url: str) -> None:
    source, target = SqliteEventLog(tmp_path / "events.db"), PostgresEventLog(postgres_url)
    await source.append([make_event("a", item_id="i1")], _NOW)
    await target.append([make_event("a", item_id="i2")], _NOW)
    with pytest.raises(CommandError, match=r"the two logs disagree after position 0: .*'a'; copy to an empty log"):
        await copy_events(source, target)
    await source.close()
    await target.close()


def test_log_is_not_copied_into_itself(tmp_path: Path) -> None:
    config = tmp_path / "front.toml"
    config.write_text(f'[server]\ndata_dir = "{tmp_path}/front"\n')
    ended = _copy(config, config)
    assert ended.returncode == 2
    assert "error: --from-config: names the event log that --config names; name two" in ended.stderr
