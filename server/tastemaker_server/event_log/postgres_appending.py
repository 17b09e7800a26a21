"""Appends groups of calls to the tables in PostgreSQL: who is refused, who was there before, where the others stand.

Two round trips for a group, however many events it has: one looks the ids up, one statement stores what is new. That
statement is the whole transaction. It locks the head of the log when the server has everything at hand and lets go
when it has committed, so that no front that is slow, frozen or cut off can hold the lock.
"""

import datetime
import hashlib
import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from tastemaker.v1.feedback_service_pb2 import FeedbackEvent
from tastemaker_server.errors import EventIdReusedError, StoreUnavailableError
from tastemaker_server.event_log import Appended
from tastemaker_server.event_log.postgres_schema import make_days
from tastemaker_server.event_log.postgres_session import PostgresSession
from tastemaker_server.group_commit import Pending

__all__ = ["AppendCall", "PostgresAppender"]

_log = logging.getLogger(__name__)
_MAX_EVENTS_PER_COMMIT = 5000
_MAX_TRIES = 10
_DAYS_AHEAD = 3

_Outcome = list[Appended] | EventIdReusedError

_LOOK_UP = "SELECT event_id, position, digest FROM tastemaker.event_keys WHERE event_id = ANY(%s::text[])"

# A day never comes before that of the event before it (clocks differ) nor after the server's today (a clock that runs
# ahead must not pull every later event into its day).
_DAY = "greatest(day, least(%(day)s::date, (now() AT TIME ZONE 'utc')::date))"

_STORE_NEW = f"""
WITH head AS (
    UPDATE tastemaker.log_head SET last_position = last_position + %(count)s, day = {_DAY}
    RETURNING last_position - %(count)s AS base, day
), new AS (
    SELECT base + number AS position, day, event_id, user_id, received, payload, digest
    FROM head, unnest(
        %(event_ids)b::text[], %(user_ids)b::text[], %(received)b::bigint[], %(payloads)b::bytea[], %(digests)b::bytea[]
    ) WITH ORDINALITY AS given (event_id, user_id, received, payload, digest, number)
), days AS (
    INSERT INTO tastemaker.event_days SELECT day, base + 1 FROM head ON CONFLICT DO NOTHING
), keys AS (
    INSERT INTO tastemaker.event_keys SELECT event_id, position, digest FROM new
), events AS (
    INSERT INTO tastemaker.events SELECT day, position, event_id, user_id, received, payload FROM new
)
SELECT base FROM head
"""  # noqa: S608  # _DAY is the constant above


@dataclass(frozen=True)
class AppendCall:
    """One call of `append`."""

    events: Sequence[FeedbackEvent]
    """All are stored, or none."""
    received_time_micros: int
    """When they were received, microseconds since 1970-01-01 UTC."""

    @property
    def day(self) -> datetime.date:
        """The day on which they were received, UTC."""
        return datetime.datetime.fromtimestamp(self.received_time_micros // 1_000_000, datetime.UTC).date()


@dataclass(frozen=True)
class _Row:
    call: AppendCall
    event: FeedbackEvent
    payload: bytes
    digest: bytes


class PostgresAppender:
    """Stores groups of calls, on the thread that writes."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session
        self._days_made_until = datetime.date.min

    def commit(self, group: Sequence[Pending[AppendCall]]) -> None:
        """Stores the calls in their order, each of them whole or not at all, and finishes every one."""
        for part in _parts(group):
            outcomes: Sequence[list[Appended] | Exception]
            try:
                outcomes = self._store([pending.request for pending in part])
            except StoreUnavailableError as error:
                outcomes = [error] * len(part)
            except Exception as error:  # a defect must reach its callers and must not end the thread
                _log.exception("cannot append events")
                outcomes = [error] * len(part)
            for pending, outcome in zip(part, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    pending.finish(None, outcome)
                else:
                    pending.finish(outcome, None)
        self._make_days_ahead()

    def close(self) -> None:
        """Closes the connection."""
        self._session.close()

    def _store(self, calls: Sequence[AppendCall]) -> list[_Outcome]:
        rows = [[_row(call, event) for event in call.events] for call in calls]
        with self._session.connection() as connection:
            for _ in range(_MAX_TRIES - 1):
                try:
                    return _try_to_store(connection, rows)
                except psycopg.errors.UniqueViolation:
                    continue  # another front stored one of these ids since they were looked up
                except psycopg.errors.CheckViolation:
                    make_days(connection, _day_of_next_append(connection, calls[-1].day), 1)
            return _try_to_store(connection, rows)

    def _make_days_ahead(self) -> None:
        """Makes the partitions of the next days, once a day, when nobody waits for it."""
        today = datetime.datetime.now(datetime.UTC).date()
        if self._days_made_until >= today + datetime.timedelta(days=_DAYS_AHEAD - 1):
            return
        try:
            with self._session.connection() as connection:
                make_days(connection, today, _DAYS_AHEAD + 1)
        except StoreUnavailableError:
            return  # logged by the session; tried again after the next commit, and the day itself is made when it comes
        self._days_made_until = today + datetime.timedelta(days=_DAYS_AHEAD)


def _parts(group: Sequence[Pending[AppendCall]]) -> Iterator[list[Pending[AppendCall]]]:
    """Cuts a group where it gets too large for one commit, and where the day changes."""
    part: list[Pending[AppendCall]] = []
    count = 0
    for pending in group:
        if part and (count >= _MAX_EVENTS_PER_COMMIT or pending.request.day != part[-1].request.day):
            yield part
            part, count = [], 0
        part.append(pending)
        count += len(pending.request.events)
    if part:
        yield part


def _row(call: AppendCall, event: FeedbackEvent) -> _Row:
    payload = event.SerializeToString(deterministic=True)
    return _Row(call, event, payload, hashlib.blake2b(payload, digest_size=16).digest())


def _try_to_store(connection: psycopg.Connection[Any], calls: Sequence[Sequence[_Row]]) -> list[_Outcome]:
    ids = list({row.event.event_id for row in itertools.chain.from_iterable(calls)})
    found = connection.execute(_LOOK_UP, (ids,), binary=True).fetchall()
    digests: dict[str, bytes] = {event_id: digest for event_id, _, digest in found}
    new: list[_Row] = []
    judged = [_judge(rows, digests, new) for rows in calls]
    positions: dict[str, int] = {event_id: position for event_id, position, _ in found}
    if new:
        base = _insert(connection, new)
        positions.update((row.event.event_id, base + number) for number, row in enumerate(new, start=1))
    return [
        verdict
        if isinstance(verdict, EventIdReusedError)
        else [Appended(positions[row.event.event_id], is_new) for row, is_new in zip(rows, verdict, strict=True)]
        for rows, verdict in zip(calls, judged, strict=True)
    ]


def _judge(rows: Sequence[_Row], digests: dict[str, bytes], new: list[_Row]) -> list[bool] | EventIdReusedError:
    """Decides over one call.

    Args:
        rows: The call's events.
        digests: Of the events that are in the log, or will be by an earlier call of the group. Grows by the new ones.
        new: The events that will be stored, in their order. Grows by the new ones.

    Returns:
        Whether each event is new; or the refusal of the call, of which nothing is stored.
    """
    own: dict[str, _Row] = {}
    verdicts: list[bool] = []
    reused: dict[int, str] = {}
    for index, row in enumerate(rows):
        event_id = row.event.event_id
        digest = own[event_id].digest if event_id in own else digests.get(event_id)
        if digest is None:
            own[event_id] = row
        elif digest != row.digest:
            reused[index] = event_id
        verdicts.append(digest is None)
    if reused:
        return EventIdReusedError(reused)
    digests.update((event_id, row.digest) for event_id, row in own.items())
    new.extend(own.values())
    return verdicts


def _insert(connection: psycopg.Connection[Any], new: Sequence[_Row]) -> int:
    """Stores the events, and returns the position before the first of them."""
    parameters = {
        "count": len(new),
        "day": max(row.call.day for row in new),
        "event_ids": [row.event.event_id for row in new],
        "user_ids": [row.event.user_id for row in new],
        "received": [row.call.received_time_micros for row in new],
        "payloads": [row.payload for row in new],
        "digests": [row.digest for row in new],
    }
    row = connection.execute(_STORE_NEW, parameters).fetchone()
    if row is None:
        raise psycopg.DataError("the table tastemaker.log_head has no row; restore the database from a backup")
    return int(row[0])


def _day_of_next_append(connection: psycopg.Connection[Any], day: datetime.date) -> datetime.date:
    row = connection.execute(f"SELECT {_DAY} FROM tastemaker.log_head", {"day": day}).fetchone()  # noqa: S608  # a constant
    return day if row is None else row[0]
