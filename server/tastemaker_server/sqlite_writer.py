"""A thread that writes to one SQLite file, with group commit.

Jobs that arrive while a transaction runs wait and then share the next one: one fsync for all of them. Each job is all
or none within the transaction (a savepoint), so that one that fails takes nothing of its neighbours with it. A job's
future is done only after the commit.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from tastemaker_server.errors import StoreUnavailableError

__all__ = ["SqliteWriter", "connect"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_MAX_JOBS_PER_COMMIT = 256
_BUSY_TIMEOUT_SECONDS = 5.0


def connect(path: Path, synchronous: Literal["FULL", "NORMAL"] = "NORMAL") -> sqlite3.Connection:
    """Opens a connection in WAL mode.

    Args:
        path: The database file; made where it is missing.
        synchronous: FULL makes every commit durable (survives power loss); NORMAL may lose the newest ones then,
            though never on a crash of the process.
    """
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    return connection


class SqliteWriter:
    """Runs jobs on a connection of its own, in the order of their submission."""

    def __init__(self, *, store: str, path: Path, schema: str, synchronous: Literal["FULL", "NORMAL"]) -> None:
        """Opens the file and makes what `schema` (idempotent SQL) names.

        Args:
            store: The store's name, for errors.
            path: The database file.
            schema: SQL statements, each with IF NOT EXISTS.
            synchronous: See `connect`.

        Raises:
            StoreUnavailableError: The file cannot be opened or written, or is no database.
        """
        self._store = store
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        try:
            self._connection = connect(path, synchronous)
            self._connection.executescript(schema)
        except sqlite3.Error as error:
            raise StoreUnavailableError(store, f"{path}: {error}") from error
        self._thread = threading.Thread(target=self._run, name=f"{store}-writer", daemon=True)
        self._thread.start()

    async def submit(self, job: Callable[[sqlite3.Connection], _T]) -> _T:
        """Runs `job` in a transaction and returns what it returned, after the commit.

        Raises:
            StoreUnavailableError: The write or the commit failed; nothing of the job is stored.
            Exception: Whatever `job` raised; nothing of it is stored.
        """
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(job, future))
        return await future

    async def close(self) -> None:
        """Finishes the jobs at hand and closes the file."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        open_ = True
        while open_:
            batch: list[_Job] = []
            job = self._jobs.get()
            while job is not None:
                batch.append(job)
                if len(batch) == _MAX_JOBS_PER_COMMIT:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            else:
                open_ = False
            if batch:
                self._commit(batch)
        self._connection.close()

    def _commit(self, batch: "list[_Job]") -> None:
        connection = self._connection
        outcomes: list[tuple[_Job, Any, BaseException | None]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                connection.execute("SAVEPOINT job")
                try:
                    outcomes.append((job, job.run(connection), None))
                except sqlite3.Error:
                    raise
                except Exception as error:  # the job's own refusal, handed to its caller below
                    connection.execute("ROLLBACK TO job")
                    outcomes.append((job, None, error))
                connection.execute("RELEASE job")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            _log.error("%s: %d writes failed: %s", self._store, len(batch), error)
            outcomes = [(job, None, StoreUnavailableError(self._store, error)) for job in batch]
        for job, result, refusal in outcomes:
            job.finish(result, refusal)


class _Job:
    def __init__(self, run: Callable[[sqlite3.Connection], Any], future: asyncio.Future[Any]) -> None:
        self.run = run
        self._future = future
        self._loop = future.get_loop()

    def finish(self, result: Any, error: BaseException | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._set, result, error)
        except RuntimeError:
            _log.debug("the event loop is closed; nobody waits for this write")

    def _set(self, result: Any, error: BaseException | None) -> None:
        if self._future.done():  # its caller went away
            return
        if error is not None:
            self._future.set_exception(error)
        else:
            self._future.set_result(result)
