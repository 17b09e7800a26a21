"""The event log in PostgreSQL: one for any number of fronts, with daily partitions and group commit.

This file owns the threads and the reading; `postgres_appending` stores, `postgres_schema` has the tables,
`postgres_session` the connections.
"""

import asyncio
import contextlib
import datetime
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from tastemaker.v1.feedback_service_pb2 import FeedbackEvent
from tastemaker_server.errors import EventIdReusedError, SettingsError, StoreUnavailableError
from tastemaker_server.event_log import Appended, LoggedEvent
from tastemaker_server.event_log.erasures import erasure_digest
from tastemaker_server.event_log.postgres_appending import (
    MAX_EVENTS_PER_COMMIT,
    AppendCall,
    PostgresAppender,
    day_of,
)
from tastemaker_server.event_log.postgres_schema import NewerSchemaError, make_schema
from tastemaker_server.event_log.postgres_session import PostgresAddress, PostgresSession, explain_start_error
from tastemaker_server.group_commit import GroupCommit

__all__ = ["PostgresEventLog"]

_T = TypeVar("_T")
_STORE = "event_log"
_MAX_CALLS_PER_COMMIT = 256
_TIMEOUT_SECONDS = 5.0

# The days from the one that holds the position after `after`; from the first one if `after` is before all.
_DAYS = """
SELECT day FROM tastemaker.event_days
WHERE day >= coalesce((SELECT max(day) FROM tastemaker.event_days WHERE first_position <= %(after)s + 1), '0001-01-01')
ORDER BY day
"""
_READ = """
SELECT position, received_time_micros, payload FROM tastemaker.events
WHERE day = %s AND position > %s ORDER BY day, position LIMIT %s
"""
_ERASE = """
WITH erased AS (DELETE FROM tastemaker.events WHERE user_id = %s RETURNING event_id),
keys AS (DELETE FROM tastemaker.event_keys USING erased WHERE event_keys.event_id = erased.event_id)
SELECT count(*) FROM erased
"""
# On record before anything goes, and for whatever was made of the log: who is cut off here leaves the user out of too
# much, not of too little. After the events have gone, nobody who saw them can have seen a later position than this.
_BEGIN_ERASURE = """
INSERT INTO tastemaker.erasures VALUES (%s, 9223372036854775807)
ON CONFLICT (user_digest) DO UPDATE SET position = excluded.position
"""
_END_ERASURE = """
UPDATE tastemaker.erasures SET position = (SELECT max(last_position) FROM tastemaker.log_head) WHERE user_digest = %s
"""


class PostgresEventLog:
    """See `EventLog`."""

    def __init__(self, url: str, *, password_file: Path | None = None) -> None:
        """Connects, and makes the tables where they are missing.

        Args:
            url: postgresql://user@host:port/database, as libpq reads it.
            password_file: A file with the password, read anew for each connection; None where the URL, PGPASSWORD or
                PGPASSFILE has it or none is needed.

        Raises:
            SettingsError: The URL, the user, the password, the database or its rights are wrong, or its tables are of a
                newer Tastemaker.
            StoreUnavailableError: The server cannot be reached, or cannot do it now.
        """
        self._address = PostgresAddress(url, password_file)
        _prepare(self._address)
        appender = PostgresAppender(PostgresSession(self._address))
        self._writer = GroupCommit(
            name=f"{_STORE}-writer", commit=appender.commit, end=appender.close, max_requests=_MAX_CALLS_PER_COMMIT
        )
        self._reader = PostgresSession(self._address)
        # Bulk reads run beside the event loop, on a thread and a connection of their own.
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"{_STORE}-reader")

    @property
    def waiting_appends(self) -> int:
        """See `EventLog.waiting_appends`."""
        return self._writer.waiting

    async def append(self, events: Sequence[FeedbackEvent], received_time_micros: int) -> list[Appended]:
        """See `EventLog.append`."""
        return await self._append([(event, received_time_micros) for event in events])

    async def append_received(self, events: Sequence[tuple[FeedbackEvent, int]]) -> list[Appended]:
        """See `EventLog.append_received`. What one commit stores has one day."""
        appended: list[Appended] = []
        for _, of_day in itertools.groupby(events, key=lambda pair: day_of(pair[1])):
            while part := list(itertools.islice(of_day, MAX_EVENTS_PER_COMMIT)):
                try:
                    appended += await self._append(part)
                except EventIdReusedError as error:
                    start = len(appended)
                    raise EventIdReusedError({start + index: id_ for index, id_ in error.event_ids.items()}) from error
        return appended

    async def _append(self, events: Sequence[tuple[FeedbackEvent, int]]) -> list[Appended]:
        call = AppendCall([event for event, _ in events], [received for _, received in events])
        appended: list[Appended] = await _in_time(self._writer.submit(call))
        return appended

    async def read(self, after: int, limit: int) -> list[LoggedEvent]:
        """See `EventLog.read`."""

        def select(connection: psycopg.Connection[Any]) -> list[LoggedEvent]:
            rows: list[tuple[int, int, bytes]] = []
            for (day,) in connection.execute(_DAYS, {"after": after}, binary=True).fetchall():
                rows += _rows_of(connection, day, after, limit - len(rows))
                if len(rows) >= limit:
                    break
            return [
                LoggedEvent(position, received, FeedbackEvent.FromString(data)) for position, received, data in rows
            ]

        return await self._on_reader(select)

    async def last_position(self) -> int:
        """See `EventLog.last_position`."""

        def select(connection: psycopg.Connection[Any]) -> int:
            (position,) = connection.execute("SELECT max(last_position) FROM tastemaker.log_head").fetchone() or (0,)
            return int(position)

        return await self._on_reader(select)

    async def erase_user(self, user_id: str) -> int:
        """See `EventLog.erase_user`. On a connection of its own: it looks into every day and may take long."""
        digest = erasure_digest(user_id)

        def delete() -> int:
            session = PostgresSession(self._address)
            with contextlib.closing(session), session.connection() as connection:
                connection.execute(_BEGIN_ERASURE, (digest,))
                (count,) = connection.execute(_ERASE, (user_id,)).fetchone() or (0,)
                connection.execute(_END_ERASURE, (digest,))
            return int(count)

        return await asyncio.to_thread(delete)

    async def erased_users(self, since: int) -> frozenset[bytes]:
        """See `EventLog.erased_users`."""

        def select(connection: psycopg.Connection[Any]) -> frozenset[bytes]:
            query = "SELECT user_digest FROM tastemaker.erasures WHERE position >= %s"
            return frozenset(digest for (digest,) in connection.execute(query, (since,), binary=True))

        return await self._on_reader(select)

    async def check(self) -> None:
        """See `EventLog.check`."""
        await self.last_position()

    async def close(self) -> None:
        """See `EventLog.close`."""
        await self._writer.close()
        await asyncio.to_thread(self._executor.shutdown)
        self._reader.close()

    async def _on_reader(self, select: Callable[[psycopg.Connection[Any]], _T]) -> _T:
        def run() -> _T:
            with self._reader.connection() as connection:
                return select(connection)

        return await _in_time(asyncio.get_running_loop().run_in_executor(self._executor, run))


async def _in_time(result: Awaitable[_T]) -> _T:
    """Gives up after 5 s, where a server is there and does not answer; what was asked may still happen."""
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return await result
    except TimeoutError as error:
        raise StoreUnavailableError(_STORE, f"no answer from PostgreSQL within {_TIMEOUT_SECONDS:g} s") from error


def _rows_of(
    connection: psycopg.Connection[Any], day: datetime.date, after: int, limit: int
) -> Iterator[tuple[int, int, bytes]]:
    yield from connection.execute(_READ, (day, after, limit), binary=True)


def _prepare(address: PostgresAddress) -> None:
    try:
        connection = address.connect()
    except psycopg.Error as error:
        raise explain_start_error(error, address) from error
    with contextlib.closing(connection):
        (encoding,) = connection.execute("SHOW server_encoding").fetchone() or ("",)
        if encoding != "UTF8":
            problem = f"its encoding is {encoding} and ids are UTF-8; make the database with ENCODING 'UTF8'"
            raise SettingsError([f"stores.event_log: {address.shown}: {problem}"])
        try:
            make_schema(connection)
        except NewerSchemaError as error:
            raise SettingsError([f"stores.event_log: {address.shown}: {error}"]) from error
        except psycopg.Error as error:
            raise explain_start_error(error, address) from error
