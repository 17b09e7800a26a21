"""The embedded event log: one SQLite file in WAL mode, with group commit and a sync for each commit."""

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tastemaker.v1.feedback_service_pb2 import FeedbackEvent
from tastemaker_server.errors import EventIdReusedError, StoreUnavailableError
from tastemaker_server.event_log import Appended, LoggedEvent
from tastemaker_server.event_log.erasures import erasure_digest
from tastemaker_server.sqlite_writer import SqliteWriter, connect

__all__ = ["SqliteEventLog"]

_STORE = "event_log"
# AUTOINCREMENT keeps a position from being given again after an erasure.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL,
    received_time_micros INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS events_by_user ON events (user_id);
CREATE TABLE IF NOT EXISTS erasures (user_digest BLOB PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""


class SqliteEventLog:
    """See `EventLog`."""

    def __init__(self, path: Path) -> None:
        """Opens the file, or makes it.

        Raises:
            StoreUnavailableError: It cannot be opened or written, or is no database.
        """
        self._writer = SqliteWriter(store=_STORE, path=path, schema=_SCHEMA, synchronous="FULL")
        # Bulk reads run beside the event loop, on a thread and a connection of their own.
        self._reader = connect(path)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="event_log-reader")

    @property
    def waiting_appends(self) -> int:
        """See `EventLog.waiting_appends`."""
        return self._writer.waiting

    async def append(self, events: Sequence[FeedbackEvent], received_time_micros: int) -> list[Appended]:
        """See `EventLog.append`."""
        return await self.append_received([(event, received_time_micros) for event in events])

    async def append_received(self, events: Sequence[tuple[FeedbackEvent, int]]) -> list[Appended]:
        """See `EventLog.append_received`. All are stored, or none."""
        rows = [(event, received, event.SerializeToString(deterministic=True)) for event, received in events]

        def insert(connection: sqlite3.Connection) -> list[Appended]:
            appended: list[Appended] = []
            reused: dict[int, str] = {}
            for index, (event, received_time_micros, payload) in enumerate(rows):
                cursor = connection.execute(
                    "INSERT INTO events (event_id, user_id, received_time_micros, payload) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT (event_id) DO NOTHING",
                    (event.event_id, event.user_id, received_time_micros, payload),
                )
                if cursor.rowcount == 1 and cursor.lastrowid is not None:
                    appended.append(Appended(cursor.lastrowid, is_new=True))
                    continue
                position, stored = connection.execute(
                    "SELECT position, payload FROM events WHERE event_id = ?", (event.event_id,)
                ).fetchone()
                if stored != payload:
                    reused[index] = event.event_id
                appended.append(Appended(position, is_new=False))
            if reused:
                raise EventIdReusedError(reused)
            return appended

        return await self._writer.submit(insert)

    async def read(self, after: int, limit: int) -> list[LoggedEvent]:
        """See `EventLog.read`."""

        def select() -> list[LoggedEvent]:
            rows = self._reader.execute(
                "SELECT position, received_time_micros, payload FROM events WHERE position > ? "
                "ORDER BY position LIMIT ?",
                (after, limit),
            )
            return [
                LoggedEvent(position, received, FeedbackEvent.FromString(payload))
                for position, received, payload in rows
            ]

        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, select)
        except sqlite3.Error as error:
            raise StoreUnavailableError(_STORE, error) from error

    async def last_position(self) -> int:
        """See `EventLog.last_position`."""

        def select() -> int:
            (position,) = self._reader.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()
            return int(position)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, select)
        except sqlite3.Error as error:
            raise StoreUnavailableError(_STORE, error) from error

    async def erase_user(self, user_id: str) -> int:
        """See `EventLog.erase_user`."""

        def delete(connection: sqlite3.Connection) -> int:
            connection.execute(
                "INSERT OR REPLACE INTO erasures "
                "SELECT ?, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)",
                (erasure_digest(user_id),),
            )
            return connection.execute("DELETE FROM events WHERE user_id = ?", (user_id,)).rowcount

        return await self._writer.submit(delete)

    async def erased_users(self, since: int) -> frozenset[bytes]:
        """See `EventLog.erased_users`."""

        def select() -> frozenset[bytes]:
            rows = self._reader.execute("SELECT user_digest FROM erasures WHERE position >= ?", (since,))
            return frozenset(digest for (digest,) in rows)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, select)
        except sqlite3.Error as error:
            raise StoreUnavailableError(_STORE, error) from error

    async def check(self) -> None:
        """See `EventLog.check`."""
        await self.last_position()

    async def close(self) -> None:
        """See `EventLog.close`."""
        await self._writer.close()
        self._executor.shutdown()
        self._reader.close()
