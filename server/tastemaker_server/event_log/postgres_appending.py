"""Appends groups of calls to the tables in PostgreSQL: who is refused, who was there before, where the others stand.

One query looks the ids up, one statement stores what is new (`postgres_storing`). It locks the head of the log when the
server has everything at hand and lets go when it has committed, so that no front that is slow, frozen or cut off can
hold the lock.
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
from tastemaker_server.event_log.postgres_storing import NewRow, day_of_next_append, store
from tastemaker_server.group_commit import Pending

__all__ = ["MAX_EVENTS_PER_COMMIT", "AppendCall", "PostgresAppender", "day_of"]

_log = logging.getLogger(__name__)
MAX_EVENTS_PER_COMMIT = 5000
"""A group of calls is cut above so many; one call is not."""
_MAX_TRIES = 10
_DAYS_AHEAD = 3

_Outcome = list[Appended] | EventIdReusedError

_LOOK_UP = "SELECT event_id, position, digest FROM tastemaker.event_keys WHERE event_id = ANY(%s::text[])"


@dataclass(frozen=True)
class AppendCall:
    """One call of `append`."""

    events: Sequence[FeedbackEvent]
    """All are stored, or none."""
    received_time_micros: Sequence[int]
    """When each was received, microseconds since 1970-01-01 UTC."""

    @property
    def day(self) -> datetime.date:
        """The last day on which one of them was received, UTC."""
        return max(map(day_of, self.received_time_micros), default=datetime.date.min)


def day_of(time_micros: int) -> datetime.date:
    """The day of a time, UTC."""
    return datetime.datetime.fromtimestamp(time_micros // 1_000_000, datetime.UTC).date()


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
        rows = [[_row(*pair) for pair in zip(call.events, call.received_time_micros, strict=True)] for call in calls]
        day = max(call.day for call in calls)
        with self._session.connection() as connection:
            for _ in range(_MAX_TRIES - 1):
                try:
                    return _try_to_store(connection, rows, day)
                except psycopg.errors.UniqueViolation:
                    continue  # another front stored one of these ids since they were looked up
                except psycopg.errors.CheckViolation:
                    make_days(connection, day_of_next_append(connection, day), 1)
            return _try_to_store(connection, rows, day)

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
        if part and (count >= MAX_EVENTS_PER_COMMIT or pending.request.day != part[-1].request.day):
            yield part
            part, count = [], 0
        part.append(pending)
        count += len(pending.request.events)
    if part:
        yield part


def _row(event: FeedbackEvent, received_time_micros: int) -> NewRow:
    payload = event.SerializeToString(deterministic=True)
    digest = hashlib.blake2b(payload, digest_size=16).digest()
    return NewRow(event.event_id, event.user_id, received_time_micros, payload, digest)


def _try_to_store(
    connection: psycopg.Connection[Any], calls: Sequence[Sequence[NewRow]], day: datetime.date
) -> list[_Outcome]:
    ids = list({row.event_id for row in itertools.chain.from_iterable(calls)})
    found = connection.execute(_LOOK_UP, (ids,), binary=True).fetchall()
    digests: dict[str, bytes] = {event_id: digest for event_id, _, digest in found}
    new: list[NewRow] = []
    judged = [_judge(rows, digests, new) for rows in calls]
    positions: dict[str, int] = {event_id: position for event_id, position, _ in found}
    if new:
        base = store(connection, new, day)
        positions.update((row.event_id, base + number) for number, row in enumerate(new, start=1))
    return [
        verdict
        if isinstance(verdict, EventIdReusedError)
        else [Appended(positions[row.event_id], is_new) for row, is_new in zip(rows, verdict, strict=True)]
        for rows, verdict in zip(calls, judged, strict=True)
    ]


def _judge(rows: Sequence[NewRow], digests: dict[str, bytes], new: list[NewRow]) -> list[bool] | EventIdReusedError:
    """Decides over one call.

    Args:
        rows: The call's events.
        digests: Of the events that are in the log, or will be by an earlier call of the group. Grows by the new ones.
        new: The events that will be stored, in their order. Grows by the new ones.

    Returns:
        Whether each event is new; or the refusal of the call, of which nothing is stored.
    """
    own: dict[str, NewRow] = {}
    verdicts: list[bool] = []
    reused: dict[int, str] = {}
    for index, row in enumerate(rows):
        event_id = row.event_id
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
