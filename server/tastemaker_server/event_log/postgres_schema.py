"""The tables of the event log in PostgreSQL, and the partitions that each day needs.

Everything lies in the PostgreSQL schema `tastemaker`. Why these tables: docs/adr/0007-positions-in-postgresql.md.
"""

import datetime
from typing import Any

import psycopg
from psycopg import sql

__all__ = ["SCHEMA_VERSION", "NewerSchemaError", "make_days", "make_schema"]

SCHEMA_VERSION = 2
"""Goes up with every change of the tables; a database of a newer one is refused."""

# One advisory lock for all changes of tables: fronts that start together, or meet a new day together, take turns.
_LOCK = 7_310_582_461_190_355

_TABLES = """
CREATE TABLE tastemaker.schema_version (version integer NOT NULL);

-- One row. Its lock, held until commit, makes positions grow in the order of commits.
CREATE TABLE tastemaker.log_head (
    id integer PRIMARY KEY CHECK (id = 1),
    last_position bigint NOT NULL,
    day date NOT NULL
) WITH (fillfactor = 10);  -- room for new versions of the row on its own page
INSERT INTO tastemaker.log_head VALUES (1, 0, '0001-01-01');

-- Days never go back as positions go on, so the order of (day, position) is the order of the log.
CREATE TABLE tastemaker.events (
    day date NOT NULL,
    position bigint NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    received_time_micros bigint NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (day, position)
) PARTITION BY RANGE (day);
CREATE INDEX ON tastemaker.events (user_id);

-- Where each day begins: a reader who knows a position finds the one partition that goes on from it.
CREATE TABLE tastemaker.event_days (day date PRIMARY KEY, first_position bigint NOT NULL);

-- Unique over all days, which no index of a table that is partitioned by day can be.
CREATE TABLE tastemaker.event_keys (
    event_id text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL,
    digest bytea NOT NULL
);
"""
# Since version 2: who was erased, and the newest position of the log then.
_ERASURES = "CREATE TABLE tastemaker.erasures (user_digest bytea PRIMARY KEY, position bigint NOT NULL)"


class NewerSchemaError(Exception):
    """The database was made, or brought up to date, by a newer Tastemaker."""

    def __init__(self, found: int) -> None:
        super().__init__(
            f"its tables have version {found}, and this Tastemaker knows up to {SCHEMA_VERSION}; "
            "start the newer Tastemaker that made them, or name another database"
        )


def make_schema(connection: psycopg.Connection[Any]) -> None:
    """Makes missing tables, and brings older ones up to date. Safe when several processes do it at once.

    Args:
        connection: In autocommit.

    Raises:
        NewerSchemaError: The tables are of a newer version.
        psycopg.Error: No right to make them, no connection, no room.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        if not _exists(connection, "schema_version"):
            # Asked first: IF NOT EXISTS wants the right to create even where there is nothing to be created.
            if connection.execute("SELECT FROM pg_namespace WHERE nspname = 'tastemaker'").fetchone() is None:
                connection.execute("CREATE SCHEMA tastemaker")
            connection.execute(_TABLES)
            connection.execute("INSERT INTO tastemaker.schema_version VALUES (1)")
        row = connection.execute("SELECT max(version) FROM tastemaker.schema_version").fetchone()
        if row is not None and row[0] > SCHEMA_VERSION:
            raise NewerSchemaError(row[0])
        if row == (1,):
            connection.execute(_ERASURES)
            connection.execute("UPDATE tastemaker.schema_version SET version = %s", (SCHEMA_VERSION,))


def make_days(connection: psycopg.Connection[Any], first: datetime.date, count: int) -> None:
    """Makes the partitions of `count` days from `first` on, where they are missing.

    A partition is made by itself and then attached: that locks out neither readers nor writers of the others, as
    CREATE TABLE ... PARTITION OF would.
    """
    days = [first + datetime.timedelta(days=number) for number in range(count)]
    if all(_exists(connection, _partition(day)) for day in days):
        return
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        for day in days:
            if not _exists(connection, _partition(day)):
                partition = sql.Identifier("tastemaker", _partition(day))
                connection.execute(
                    sql.SQL(
                        "CREATE TABLE {partition} (LIKE tastemaker.events INCLUDING ALL);"
                        "ALTER TABLE tastemaker.events ATTACH PARTITION {partition} FOR VALUES FROM ({day}) TO ({next})"
                    ).format(
                        partition=partition,
                        day=sql.Literal(day.isoformat()),
                        next=sql.Literal((day + datetime.timedelta(days=1)).isoformat()),
                    )
                )


def _partition(day: datetime.date) -> str:
    return f"events_{day:%Y%m%d}"


def _exists(connection: psycopg.Connection[Any], table: str) -> bool:
    # Not to_regclass: within a transaction it may go on saying no to a table that another process has made meanwhile.
    query = "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'tastemaker' AND tablename = %s)"
    return connection.execute(query, (table,)).fetchone() == (True,)
