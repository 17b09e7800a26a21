"""The embedded online store: one SQLite file in WAL mode.

Single-row reads run on the event loop itself: they take some ten microseconds from the page cache and never wait for
a writer (WAL), while a hop to another thread and back costs several times that. Commits are not synced: a power loss
may undo the newest ones, and the projector then applies them again from the event log.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tastemaker.artefacts.v1.state_pb2 import RankedList, UserState
from tastemaker_server.errors import StoreUnavailableError
from tastemaker_server.event_log import LoggedEvent
from tastemaker_server.sqlite_writer import SqliteWriter, connect
from tastemaker_server.user_state import StatePolicy, updated_state

__all__ = ["SqliteOnlineStore"]

_STORE = "online_store"
_LISTS_PER_COMMIT = 5000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS users (user_id TEXT PRIMARY KEY, state BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS progress (id INTEGER PRIMARY KEY CHECK (id = 0), applied_position INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO progress VALUES (0, 0);
CREATE TABLE IF NOT EXISTS popularity (item_id TEXT PRIMARY KEY, user_count INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS popularity_by_count ON popularity (user_count DESC, item_id);
CREATE TABLE IF NOT EXISTS lists (
    surface TEXT, generation INTEGER, user_id TEXT, list BLOB NOT NULL, PRIMARY KEY (surface, generation, user_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS active_lists (
    surface TEXT PRIMARY KEY, generation INTEGER NOT NULL, previous INTEGER
) STRICT;
"""


class SqliteOnlineStore:
    """See `OnlineStore`."""

    def __init__(self, path: Path, *, policy: StatePolicy) -> None:
        """Opens the file, or makes it.

        Args:
            path: The database file.
            policy: What is kept of users.

        Raises:
            StoreUnavailableError: It cannot be opened or written, or is no database.
        """
        self._policy = policy
        self._writer = SqliteWriter(store=_STORE, path=path, schema=_SCHEMA, synchronous="NORMAL")
        self._reader = connect(path)

    async def user_state(self, user_id: str) -> UserState | None:
        """See `OnlineStore.user_state`."""
        row = self._read_row("SELECT state FROM users WHERE user_id = ?", user_id)
        return UserState.FromString(row[0]) if row is not None else None

    async def apply(self, events: Sequence[LoggedEvent]) -> None:
        """See `OnlineStore.apply`."""
        await self._writer.submit(lambda connection: self._apply(connection, events))

    def _apply(self, connection: sqlite3.Connection, events: Sequence[LoggedEvent]) -> None:
        (applied,) = connection.execute("SELECT applied_position FROM progress").fetchone()
        by_user: defaultdict[str, list[LoggedEvent]] = defaultdict(list)
        for logged in events:
            if logged.position > applied:
                by_user[logged.event.user_id].append(logged)
        consumed: list[str] = []
        for user_id, user_events in by_user.items():
            row = connection.execute("SELECT state FROM users WHERE user_id = ?", (user_id,)).fetchone()
            before = UserState.FromString(row[0]) if row is not None else None
            state, newly_consumed = updated_state(before, user_events, self._policy)
            connection.execute("INSERT OR REPLACE INTO users VALUES (?, ?)", (user_id, state.SerializeToString()))
            consumed += newly_consumed
        connection.executemany(
            "INSERT INTO popularity VALUES (?, 1) ON CONFLICT (item_id) DO UPDATE SET user_count = user_count + 1",
            ((item_id,) for item_id in consumed),
        )
        if events:
            newest = max(applied, events[-1].position)
            connection.execute("UPDATE progress SET applied_position = ?", (newest,))

    async def applied_position(self) -> int:
        """See `OnlineStore.applied_position`."""
        row = self._read_row("SELECT applied_position FROM progress")
        return int(row[0]) if row is not None else 0

    async def popular(self, limit: int) -> list[tuple[str, int]]:
        """See `OnlineStore.popular`."""
        try:
            return self._reader.execute(
                "SELECT item_id, user_count FROM popularity ORDER BY user_count DESC, item_id LIMIT ?", (limit,)
            ).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailableError(_STORE, error) from error

    async def put_lists(self, surface: str, generation: int, lists: Iterable[tuple[str, RankedList]]) -> int:
        """See `OnlineStore.put_lists`."""
        rows = iter(lists)
        count = 0

        def insert(connection: sqlite3.Connection) -> int:
            active = connection.execute("SELECT generation FROM active_lists WHERE surface = ?", (surface,)).fetchone()
            if active is not None and active[0] == generation:
                raise ValueError(f"generation {generation} of {surface!r} is active and cannot change; write a new one")
            chunk = [
                (surface, generation, user_id, ranked.SerializeToString())
                for user_id, ranked in islice(rows, _LISTS_PER_COMMIT)
            ]
            connection.executemany("INSERT OR REPLACE INTO lists VALUES (?, ?, ?, ?)", chunk)
            return len(chunk)

        while (inserted := await self._writer.submit(insert)) > 0:
            count += inserted
        return count

    async def activate_lists(self, surface: str, generation: int) -> None:
        """See `OnlineStore.activate_lists`."""

        def switch(connection: sqlite3.Connection) -> None:
            of_generation = (surface, generation)
            if (
                connection.execute(
                    "SELECT 1 FROM lists WHERE surface = ? AND generation = ? LIMIT 1", of_generation
                ).fetchone()
                is None
            ):
                raise ValueError(f"generation {generation} of {surface!r} has no lists; put them first")
            connection.execute(
                "INSERT INTO active_lists VALUES (?, ?, NULL) ON CONFLICT (surface) DO UPDATE SET "
                "previous = CASE generation WHEN excluded.generation THEN previous ELSE generation END, "
                "generation = excluded.generation",
                of_generation,
            )
            # Generations above the active one may be on their way in; only older ones go.
            connection.execute(
                "DELETE FROM lists WHERE surface = ?1 AND generation < ?2 AND generation <> "
                "(SELECT coalesce(previous, 0) FROM active_lists WHERE surface = ?1)",
                of_generation,
            )

        await self._writer.submit(switch)

    async def user_list(self, surface: str, user_id: str) -> RankedList | None:
        """See `OnlineStore.user_list`."""
        row = self._read_row(
            "SELECT list FROM active_lists JOIN lists USING (surface, generation) WHERE surface = ? AND user_id = ?",
            surface,
            user_id,
        )
        return RankedList.FromString(row[0]) if row is not None else None

    async def erase_user(self, user_id: str) -> None:
        """See `OnlineStore.erase_user`."""

        def erase(connection: sqlite3.Connection) -> None:
            row = connection.execute("SELECT state FROM users WHERE user_id = ?", (user_id,)).fetchone()
            if row is not None:
                items = UserState.FromString(row[0]).consumed_item_ids
                connection.executemany(
                    "UPDATE popularity SET user_count = user_count - 1 WHERE item_id = ?", ((item,) for item in items)
                )
                connection.execute("DELETE FROM popularity WHERE user_count <= 0")
            connection.execute("DELETE FROM users WHERE user_id = ?", (user_id,))
            connection.execute("DELETE FROM lists WHERE user_id = ?", (user_id,))

        await self._writer.submit(erase)

    async def check(self) -> None:
        """See `OnlineStore.check`."""
        await self.applied_position()

    async def close(self) -> None:
        """See `OnlineStore.close`."""
        await self._writer.close()
        self._reader.close()

    def _read_row(self, sql: str, *parameters: object) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self._reader.execute(sql, parameters).fetchone()
        except sqlite3.Error as error:
            raise StoreUnavailableError(_STORE, error) from error
        return row
