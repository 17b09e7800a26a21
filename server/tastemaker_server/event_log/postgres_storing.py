"""Stores new events in PostgreSQL: one statement is the whole change, and rows reach the server in one of two ways.

Few go along with the statement, as arrays. Many are sent before it by COPY, to a table that the transaction drops; the
statement and the COMMIT then go out as one message, so that nothing but the server itself stands between the lock on
the head of the log and its release.
"""

import contextlib
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

__all__ = ["COPIED_FROM", "NewRow", "day_of_next_append", "store"]

COPIED_FROM = 2000
"""So many rows and more go by COPY."""

_COLUMNS = {"event_id": "text", "user_id": "text", "received": "bigint", "payload": "bytea", "digest": "bytea"}

# A day never comes before that of the event before it (clocks differ) nor after the server's today (a clock that runs
# ahead must not pull every later event into its day).
_DAY = "greatest(day, least({day}::date, (now() AT TIME ZONE 'utc')::date))"

_STORE = f"""
WITH head AS (
    UPDATE tastemaker.log_head SET last_position = last_position + {{count}}, day = {_DAY}
    RETURNING last_position - {{count}} AS base, day
), new AS (
    SELECT base + number AS position, day, event_id, user_id, received, payload, digest FROM head, {{rows}}
), days AS (
    INSERT INTO tastemaker.event_days SELECT day, base + 1 FROM head ON CONFLICT DO NOTHING
), keys AS (
    INSERT INTO tastemaker.event_keys SELECT event_id, position, digest FROM new
), events AS (
    INSERT INTO tastemaker.events SELECT day, position, event_id, user_id, received, payload FROM new
)
SELECT base FROM head
"""  # noqa: S608  # filled in below, with constants and placeholders
_STORE_ARRAYS = _STORE.format(
    day="%(day)s",
    count="%(count)s",
    rows=f"unnest({', '.join(f'%({name})b::{kind}[]' for name, kind in _COLUMNS.items())})"
    f" WITH ORDINALITY AS given ({', '.join(_COLUMNS)}, number)",
)
_BEGIN_COPY = (
    "BEGIN; CREATE TEMPORARY TABLE given "
    f"({', '.join(f'{name} {kind}' for name, kind in _COLUMNS.items())}, number bigint) ON COMMIT DROP"
)
_COPY = "COPY pg_temp.given FROM STDIN (FORMAT BINARY)"


@dataclass(frozen=True, slots=True)
class NewRow:
    """An event that is not in the log."""

    event_id: str
    user_id: str
    received_time_micros: int
    """When it was received, microseconds since 1970-01-01 UTC."""
    payload: bytes
    """The event, serialised."""
    digest: bytes
    """Of the payload."""


def store(connection: psycopg.Connection[Any], rows: Sequence[NewRow], day: datetime.date) -> int:
    """Stores all events or none, and returns the position before the first of them.

    Args:
        connection: In autocommit.
        rows: At least one.
        day: On which they were received, UTC.

    Raises:
        psycopg.errors.UniqueViolation: One of the ids is in the log.
        psycopg.errors.CheckViolation: The day has no partition.
        psycopg.Error: The server cannot be reached, or refuses.
    """
    found = None
    is_copied = len(rows) >= COPIED_FROM
    if is_copied:
        try:
            found = _store_copied(connection, rows, day)
        except psycopg.errors.InsufficientPrivilege:
            is_copied = False  # who may make no temporary tables can store all the same
    if not is_copied:
        found = _store_arrays(connection, rows, day)
    if found is None:
        raise psycopg.DataError("the table tastemaker.log_head has no row; restore the database from a backup")
    return int(found[0])


def day_of_next_append(connection: psycopg.Connection[Any], day: datetime.date) -> datetime.date:
    """The day under which the log would store events that are received on `day`."""
    query = f"SELECT {_DAY.format(day='%(day)s')} FROM tastemaker.log_head"  # noqa: S608  # a constant
    row = connection.execute(query, {"day": day}).fetchone()
    return day if row is None else row[0]


def _store_arrays(
    connection: psycopg.Connection[Any], rows: Sequence[NewRow], day: datetime.date
) -> tuple[Any, ...] | None:
    parameters = {
        "count": len(rows),
        "day": day,
        "event_id": [row.event_id for row in rows],
        "user_id": [row.user_id for row in rows],
        "received": [row.received_time_micros for row in rows],
        "payload": [row.payload for row in rows],
        "digest": [row.digest for row in rows],
    }
    return connection.execute(_STORE_ARRAYS, parameters).fetchone()


def _store_copied(
    connection: psycopg.Connection[Any], rows: Sequence[NewRow], day: datetime.date
) -> tuple[Any, ...] | None:
    try:
        # Not prepared: they are several statements each.
        connection.execute(_BEGIN_COPY, prepare=False)
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.set_types([*_COLUMNS.values(), "bigint"])
            for number, row in enumerate(rows, start=1):
                copy.write_row((row.event_id, row.user_id, row.received_time_micros, row.payload, row.digest, number))
        # No parameters: these would make it a message of its own, and the lock would wait for a COMMIT from here.
        statement = _STORE.format(day=f"'{day.isoformat()}'", count=len(rows), rows="pg_temp.given")
        return connection.execute((statement + "; COMMIT").encode(), prepare=False).fetchone()
    except psycopg.Error:
        with contextlib.suppress(psycopg.Error):  # what failed is told, and a broken connection is closed by its owner
            connection.execute("ROLLBACK")
        raise
