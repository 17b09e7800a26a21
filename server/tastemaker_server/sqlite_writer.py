"""A thread that writes to one SQLite file, with group commit: one fsync for all jobs that arrived meanwhile.

`group_commit` has the thread and its queue. Each job is all or none within the transaction (a savepoint), so that one
that fails takes nothing of its neighbours with it. A job's future is done only after the commit.
"""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from tastemaker_server.errors import StoreUnavailableError
from tastemaker_server.group_commit import GroupCommit, Pending

__all__ = ["SqliteWriter", "connect"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_Job = Callable[[sqlite3.Connection], Any]
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
        try:
            self._connection = connect(path, synchronous)
            self._connection.executescript(schema)
        except sqlite3.Error as error:
            raise StoreUnavailableError(store, f"{path}: {error}") from error
        self._commits: GroupCommit[_Job] = GroupCommit(
            name=f"{store}-writer",
            commit=self._commit,
            end=self._connection.close,
            max_requests=_MAX_JOBS_PER_COMMIT,
        )

    async def submit(self, job: Callable[[sqlite3.Connection], _T]) -> _T:
        """Runs `job` in a transaction and returns what it returned, after the commit.

        Raises:
            StoreUnavailableError: The write or the commit failed; nothing of the job is stored.
            Exception: Whatever `job` raised; nothing of it is stored.
        """
        result: _T = await self._commits.submit(job)
        return result

    @property
    def waiting(self) -> int:
        """How many jobs were submitted and are not finished."""
        return self._commits.waiting

    async def close(self) -> None:
        """Finishes the jobs at hand and closes the file."""
        await self._commits.close()

    def _commit(self, group: Sequence[Pending[_Job]]) -> None:
        connection = self._connection
        outcomes: list[tuple[Pending[_Job], Any, BaseException | None]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for pending in group:
                connection.execute("SAVEPOINT job")
                try:
                    outcomes.append((pending, pending.request(connection), None))
                except sqlite3.Error:
                    raise
                except Exception as error:  # the job's own refusal, handed to its caller below
                    connection.execute("ROLLBACK TO job")
                    outcomes.append((pending, None, error))
                connection.execute("RELEASE job")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            _log.error("%s: %d writes failed: %s", self._store, len(group), error)
            outcomes = [(pending, None, StoreUnavailableError(self._store, error)) for pending in group]
        for pending, result, refusal in outcomes:
            pending.finish(result, refusal)
