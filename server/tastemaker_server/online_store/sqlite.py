"""The embedded online store: one SQLite file in WAL mode.

Single-row reads run on the event loop itself: they take some ten microseconds from the page cache and never wait for
a writer (WAL), while a hop to another thread and back costs several times that. Commits are not synced: a power loss
may undo the newest ones, and the projector then applies them again from the event log. Lists lie in files of their own,
see `sqlite_lists`.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tastemaker.artefacts.v1.lists_pb2 import ListKey
from tastemaker.artefacts.v1.state_pb2 import UserState
from tastemaker_server.errors import StoreUnavailableError
from tastemaker_server.event_log import LoggedEvent
from tastemaker_server.online_store import FoundList
from tastemaker_server.online_store.sqlite_lists import LISTS_SCHEMA, SqliteLists
from tastemaker_server.sqlite_writer import SqliteWriter, connect
from tastemaker_server.user_state import StatePolicy, updated_state

__all__ = ["SqliteOnlineStore"]

_STORE = "online_store"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS users (user_id TEXT PRIMARY KEY, state BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS progress (id INTEGER PRIMARY KEY CHECK (id = 0), applied_position INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO progress VALUES (0, 0);
CREATE TABLE IF NOT EXISTS popularity (item_id TEXT PRIMARY KEY, user_count INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS popularity_by_count ON popularity (user_count DESC, item_id);
"""


class SqliteOnlineStore(SqliteLists):
    """See `OnlineStore`."""

    is_remote = False
    reads_together = True

    def __init__(self, path: Path, *, policy: StatePolicy) -> None:
        """Opens the file, or makes it.

        Args:
            path: The database file; lists lie beside it in the folder `lists`.
            policy: What is kept of users.

        Raises:
            StoreUnavailableError: It cannot be opened or written, or is no database.
        """
        self._policy = policy
        self._writer = SqliteWriter(store=_STORE, path=path, schema=_SCHEMA + LISTS_SCHEMA, synchronous="NORMAL")
        self._reader = connect(path)
        super().__init__(folder=path.with_name("lists"), writer=self._writer, reader=self._reader)

    async def user_state(self, user_id: str) -> UserState | None:
        """See `OnlineStore.user_state`."""
        row = self._read_row("SELECT state FROM users WHERE user_id = ?", user_id)
        return UserState.FromString(row[0]) if row is not None else None

    async def user_state_and_list(
        self, user_id: str, name: str, keys: "Mapping[ListKey, str]"
    ) -> tuple[UserState | None, FoundList | None]:
        """See `OnlineStore.user_state_and_list`."""
        state, found = self._read_with_list(user_id, name, keys)
        return UserState.FromString(state) if state is not None else None, found

    async def apply(self, events: Sequence[LoggedEvent], *, after: int) -> int:
        """See `OnlineStore.apply`."""
        return await self._writer.submit(lambda connection: self._apply(connection, events, after))

    def _apply(self, connection: sqlite3.Connection, events: Sequence[LoggedEvent], after: int) -> int:
        applied: int
        (applied,) = connection.execute("SELECT applied_position FROM progress").fetchone()
        if applied < after or not events or events[-1].position <= applied:
            return applied
        by_user: defaultdict[str, list[LoggedEvent]] = defaultdict(list)
        for logged in events:
            if logged.position > applied:
                by_user[logged.event.user_id].append(logged)
        consuming: list[LoggedEvent] = []
        for user_id, user_events in by_user.items():
            row = connection.execute("SELECT state FROM users WHERE user_id = ?", (user_id,)).fetchone()
            before = UserState.FromString(row[0]) if row is not None else None
            state, newly_consumed = updated_state(before, user_events, self._policy)
            connection.execute("INSERT OR REPLACE INTO users VALUES (?, ?)", (user_id, state.SerializeToString()))
            consuming += newly_consumed
        connection.executemany(
            "INSERT INTO popularity VALUES (?, 1) ON CONFLICT (item_id) DO UPDATE SET user_count = user_count + 1",
            ((logged.event.item_id,) for logged in consuming),
        )
        connection.execute("UPDATE progress SET applied_position = ?", (events[-1].position,))
        return events[-1].position

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
            self.note_erasure(connection, user_id)

        await self._writer.submit(erase)
        await self._erase_from_lists(user_id)

    async def check(self) -> None:
        """See `OnlineStore.check`."""
        await self.applied_position()

    async def close(self) -> None:
        """See `OnlineStore.close`."""
        await self._writer.close()
        self._reader.close()
        self._close_lists()

    def _read_row(self, sql: str, *parameters: object) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self._reader.execute(sql, parameters).fetchone()
        except sqlite3.Error as error:
            raise StoreUnavailableError(_STORE, error) from error
        return row
