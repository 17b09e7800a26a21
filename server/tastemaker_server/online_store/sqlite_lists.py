"""The embedded store's lists: each generation is an SQLite file of its own, which a table says how to find.

A file of its own is filled without a journal and without holding up those who write users' states, and goes away as a
whole. File names are never used twice: a process that still reads a removed one cannot meet another under its name.
"""

import asyncio
import contextlib
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

from tastemaker.artefacts.v1.lists_pb2 import LIST_KEY_USER, ListGeneration, ListKey
from tastemaker.artefacts.v1.state_pb2 import RankedList
from tastemaker_server.errors import StoreUnavailableError
from tastemaker_server.online_store import FoundList
from tastemaker_server.sqlite_writer import SqliteWriter

__all__ = ["LISTS_SCHEMA", "SqliteLists"]

LISTS_SCHEMA = """
CREATE TABLE IF NOT EXISTS list_files (
    file TEXT PRIMARY KEY, name TEXT NOT NULL, generation INTEGER NOT NULL, role TEXT NOT NULL, info BLOB
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS list_files_by_generation ON list_files (name, generation);
CREATE TABLE IF NOT EXISTS list_erasures (
    name TEXT NOT NULL, generation INTEGER NOT NULL, user_id TEXT NOT NULL, PRIMARY KEY (name, generation, user_id)
) STRICT, WITHOUT ROWID;
"""
_STORE = "online_store"
# What becomes of a file: FILLING, then FILLED, then ACTIVE, then PREVIOUS.
_FILLING, _FILLED, _ACTIVE, _PREVIOUS = "FILLING", "FILLED", "ACTIVE", "PREVIOUS"
# Two reads in one statement: beginning and ending a read costs more than the read.
_SELECT_STATE_AND_FILE = """
SELECT (SELECT state FROM users WHERE user_id = ?), file, info
FROM (SELECT 1) LEFT JOIN list_files ON name = ? AND role = ?
"""
_PAGE_BYTES = 32_768  # ten lists of some kilobytes to a page; larger ones cost readers more than they save
_LISTS_PER_INSERT = 2000
_INSERTS_PER_SYNC = 10
_BUSY_TIMEOUT_SECONDS = 5.0


class SqliteLists:
    """The part of `SqliteOnlineStore` that has the lists."""

    def __init__(self, *, folder: Path, writer: SqliteWriter, reader: sqlite3.Connection) -> None:
        """Makes the folder.

        Args:
            folder: Where the files of generations lie.
            writer: Writes to the database that has `LISTS_SCHEMA`.
            reader: Reads from it, on the event loop's thread.

        Raises:
            StoreUnavailableError: The folder cannot be made.
        """
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise StoreUnavailableError(_STORE, error) from error
        self._folder = folder
        self._lists_writer = writer
        self._lists_reader = reader
        self._open: dict[str, _OpenGeneration] = {}

    async def put_lists(self, name: str, generation: int, lists: Iterable[tuple[str, bytes]]) -> int:
        """See `OnlineStore.put_lists`."""
        file = f"{name}-{generation}-{secrets.token_hex(4)}.db"
        taken = (
            f"generation {generation} of {name!r} is being put by another process, or a later one has become active; "
            "let it finish"
        )

        def begin(connection: sqlite3.Connection) -> None:
            row = connection.execute(
                "SELECT role FROM list_files WHERE name = ? AND generation = ?", (name, generation)
            ).fetchone()
            if row is not None and row[0] in (_ACTIVE, _PREVIOUS):
                raise ValueError(f"generation {generation} of {name!r} can be read and cannot change; write a new one")
            connection.execute(
                "INSERT OR REPLACE INTO list_files VALUES (?, ?, ?, ?, NULL)", (file, name, generation, _FILLING)
            )

        def end(connection: sqlite3.Connection) -> None:
            if not connection.execute("UPDATE list_files SET role = ? WHERE file = ?", (_FILLED, file)).rowcount:
                raise ValueError(taken)

        await self._lists_writer.submit(begin)
        self._remove_unnamed_files(name)
        try:
            count = await asyncio.to_thread(_fill, self._folder / file, lists)
            await self._lists_writer.submit(end)
        except BaseException as error:
            _remove(self._folder / file)
            if isinstance(error, StoreUnavailableError) and self._role(file) is None:
                raise ValueError(taken) from error  # the other process removed the file
            raise
        return count

    async def activate_lists(self, name: str, info: ListGeneration) -> None:
        """See `OnlineStore.activate_lists`."""
        generation = info.generation

        def look(connection: sqlite3.Connection) -> tuple[str, str, list[str]]:
            row = connection.execute(
                "SELECT file, role FROM list_files WHERE name = ? AND generation = ?", (name, generation)
            ).fetchone()
            if row is None or row[1] == _FILLING:
                raise ValueError(f"generation {generation} of {name!r} has no lists, or not all; put them first")
            erased = connection.execute(
                "SELECT user_id FROM list_erasures WHERE name = ? AND generation = ?", (name, generation)
            )
            return *row, [user_id for (user_id,) in erased] if info.key == LIST_KEY_USER else []

        def switch(connection: sqlite3.Connection, looked_at: str, removed: list[str]) -> bool:
            file, role, erased = look(connection)
            if file != looked_at or set(erased) - set(removed):
                return False
            if role != _ACTIVE:
                # Generations above the new one may be on their way in; only older ones go.
                connection.execute(
                    "DELETE FROM list_files WHERE name = ?1 AND generation <> ?2 AND (role = ?3 OR "
                    "(generation < ?2 AND role <> ?4))",
                    (name, generation, _PREVIOUS, _ACTIVE),
                )
                connection.execute(
                    "UPDATE list_files SET role = ? WHERE name = ? AND role = ?", (_PREVIOUS, name, _ACTIVE)
                )
            connection.execute(
                "UPDATE list_files SET role = ?, info = ? WHERE name = ? AND generation = ?",
                (_ACTIVE, info.SerializeToString(), name, generation),
            )
            connection.execute(
                "DELETE FROM list_erasures WHERE (name, generation) NOT IN "
                "(SELECT name, generation FROM list_files WHERE role IN (?, ?))",
                (_FILLING, _FILLED),
            )
            return True

        while True:
            file, _, erased = await self._lists_writer.submit(look)
            if erased:
                await asyncio.to_thread(_delete, self._folder / file, erased)
            if await self._lists_writer.submit(partial(switch, looked_at=file, removed=erased)):
                break
        self._remove_unnamed_files(name)

    async def rollback_lists(self, name: str) -> ListGeneration:
        """See `OnlineStore.rollback_lists`."""

        def switch(connection: sqlite3.Connection) -> ListGeneration:
            row = connection.execute(
                "SELECT info FROM list_files WHERE name = ? AND role = ?", (name, _PREVIOUS)
            ).fetchone()
            if row is None:
                raise ValueError(f"{name!r} has no generation before the active one; publish one")
            connection.execute(
                "UPDATE list_files SET role = CASE role WHEN ?2 THEN ?3 ELSE ?2 END "
                "WHERE name = ?1 AND role IN (?2, ?3)",
                (name, _ACTIVE, _PREVIOUS),
            )
            return ListGeneration.FromString(row[0])

        return await self._lists_writer.submit(switch)

    async def list_names(self) -> list[str]:
        """See `OnlineStore.list_names`."""
        try:
            rows = self._lists_reader.execute(
                "SELECT name FROM list_files WHERE role = ? ORDER BY name", (_ACTIVE,)
            ).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailableError(_STORE, error) from error
        return [name for (name,) in rows]

    async def list_generations(self, name: str) -> list[ListGeneration]:
        """See `OnlineStore.list_generations`."""
        try:
            rows = self._lists_reader.execute(
                "SELECT info FROM list_files WHERE name = ? AND role IN (?, ?) ORDER BY role",
                (name, _ACTIVE, _PREVIOUS),
            ).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailableError(_STORE, error) from error
        return [ListGeneration.FromString(info) for (info,) in rows]

    async def read_list(self, name: str, keys: "Mapping[ListKey, str]") -> FoundList | None:
        """See `OnlineStore.read_list`."""
        _, found = self._read_with_list("", name, keys)
        return found

    def _read_with_list(
        self, user_id: str, name: str, keys: "Mapping[ListKey, str]"
    ) -> tuple[bytes | None, FoundList | None]:
        """Returns what the table `users` has for a user, and what `read_list` returns."""
        try:
            while True:
                state, *row = self._lists_reader.execute(_SELECT_STATE_AND_FILE, (user_id, name, _ACTIVE)).fetchone()
                if row[0] is None:
                    return state, None
                generation = self._open.get(name)
                if generation is None or [generation.file, generation.raw_info] != row:
                    if generation is not None:
                        del self._open[name]
                        generation.close()
                    if not (self._folder / row[0]).exists():
                        if self._role(row[0]) == _ACTIVE:
                            raise StoreUnavailableError(
                                _STORE, f"{self._folder / row[0]} is gone; publish {name!r} again"
                            )
                        continue  # it went away between the two looks
                    generation = self._open[name] = _OpenGeneration(self._folder, *row)
                return state, FoundList(generation.info, generation.read(keys))
        except sqlite3.Error as error:
            raise StoreUnavailableError(_STORE, error) from error

    @staticmethod
    def note_erasure(connection: sqlite3.Connection, user_id: str) -> None:
        """Notes for every generation that is on its way in that this user's list may not become readable in it."""
        connection.execute(
            "INSERT OR IGNORE INTO list_erasures SELECT name, generation, ? FROM list_files WHERE role IN (?, ?)",
            (user_id, _FILLING, _FILLED),
        )

    async def _erase_from_lists(self, user_id: str) -> None:
        """Removes a user's lists from every generation that can be read; `note_erasure` has seen to the others."""
        try:
            rows = self._lists_reader.execute(
                "SELECT file, info FROM list_files WHERE role IN (?, ?)", (_ACTIVE, _PREVIOUS)
            ).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailableError(_STORE, error) from error
        for file, info in rows:
            if ListGeneration.FromString(info).key == LIST_KEY_USER:
                await asyncio.to_thread(_delete, self._folder / file, [user_id])

    def _close_lists(self) -> None:
        for generation in self._open.values():
            generation.close()

    def _role(self, file: str) -> str | None:
        row = self._lists_reader.execute("SELECT role FROM list_files WHERE file = ?", (file,)).fetchone()
        return str(row[0]) if row is not None else None

    def _remove_unnamed_files(self, name: str) -> None:
        """Removes files that the table does not name: of older generations, and of publishers that were killed."""
        present = {path.name for path in self._folder.glob(f"{name}-*.db") if path.name.rsplit("-", 2)[0] == name}
        try:  # after the look at the folder: a file is named before it is made
            named = {file for (file,) in self._lists_reader.execute("SELECT file FROM list_files")}
        except sqlite3.Error as error:
            raise StoreUnavailableError(_STORE, error) from error
        for file in present - named:
            _remove(self._folder / file)


class _OpenGeneration:
    """A generation's file, open for reading."""

    def __init__(self, folder: Path, file: str, raw_info: bytes) -> None:
        self.file = file
        self.raw_info = raw_info
        self.info = ListGeneration.FromString(raw_info)
        self._connection = sqlite3.connect(
            f"file:{folder / file}?mode=rw", uri=True, timeout=_BUSY_TIMEOUT_SECONDS, check_same_thread=False
        )

    def read(self, keys: "Mapping[ListKey, str]") -> RankedList | None:
        key = keys.get(self.info.key)
        if key is None:
            return None
        row = self._connection.execute("SELECT list FROM lists WHERE key = ?", (key,)).fetchone()
        return RankedList.FromString(row[0]) if row is not None else None

    def close(self) -> None:
        self._connection.close()


def _fill(path: Path, lists: Iterable[tuple[str, bytes]]) -> int:
    """Writes a file of lists, synced, and returns how many there were."""
    rows = iter(lists)
    count = 0
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = OFF")  # nobody reads it before it is whole
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            # A table with row ids: lists are written one after the other, whatever the order of their keys. The index
            # comes last: it is sorted once then, where keys in no order would each look for their page.
            connection.execute("CREATE TABLE lists (key TEXT NOT NULL, list BLOB NOT NULL) STRICT")
            connection.execute("BEGIN")
            with _synced_meanwhile(path) as written:
                while chunk := list(islice(rows, _LISTS_PER_INSERT)):
                    connection.executemany("INSERT INTO lists VALUES (?, ?)", chunk)
                    count += len(chunk)
                    written()
            connection.execute("CREATE INDEX lists_by_key ON lists (key)")
            if connection.execute("SELECT EXISTS (SELECT 1 FROM lists GROUP BY key HAVING count(*) > 1)").fetchone()[0]:
                connection.execute("DELETE FROM lists WHERE rowid NOT IN (SELECT max(rowid) FROM lists GROUP BY key)")
            connection.execute("COMMIT")
            connection.execute("PRAGMA locking_mode = NORMAL")
            connection.execute("PRAGMA journal_mode = WAL")  # from here on, an erasure does not hold up readers
        _sync(path)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailableError(_STORE, f"{path}: {error}") from error
    return count


@contextlib.contextmanager
def _synced_meanwhile(path: Path) -> Iterator[Callable[[], None]]:
    """Yields what to call after some lists were written: they go to the disk while the next ones are made ready.

    All of them at the end would take a tenth of the whole time, in which nothing else could be done.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="lists-sync") as executor:
        under_way = executor.submit(_sync, path)
        calls = 0

        def written() -> None:
            nonlocal under_way, calls
            calls += 1
            if calls % _INSERTS_PER_SYNC == 0 and under_way.done():
                under_way.result()
                under_way = executor.submit(_sync, path)

        yield written


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _delete(path: Path, keys: Sequence[str]) -> None:
    """Removes lists; nothing where the file has gone since."""
    if not path.exists():
        return
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None)
        ) as connection:
            connection.execute("PRAGMA secure_delete = ON")
            connection.executemany("DELETE FROM lists WHERE key = ?", ((key,) for key in keys))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        if path.exists():
            raise StoreUnavailableError(_STORE, f"{path}: {error}") from error


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
