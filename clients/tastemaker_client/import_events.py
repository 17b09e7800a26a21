"""Sends the events of a file, each user's in the order of the file.

Positions in the event log break ties between a user's events of one time, and the server promises no order between
calls that overlap. So users are dealt to lanes, and a lane has one call in flight at a time: the order is kept where it
matters, and the lanes together are 1.5 to 2 times as fast as one call after the other (measured: 40,000 events, SQLite,
2 cores).
"""

import re
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from tastemaker_client.client import Client
from tastemaker_client.errors import EventIdReusedError, InvalidRequestError, TastemakerError
from tastemaker_client.event import FeedbackReceipt
from tastemaker_client.event_file import EventRow

__all__ = ["BATCH_SIZE", "LANE_COUNT", "ImportStoppedError", "import_events"]

BATCH_SIZE = 500
"""As many events as one call may carry."""
LANE_COUNT = 4
"""How many calls are in flight at most."""

_EVENT_FIELD = re.compile(r"events\[(\d+)\]\.?(\w*)")


class ImportStoppedError(Exception):
    """A call failed for good; what was acknowledged stays stored."""

    def __init__(self, stored: FeedbackReceipt, bad_rows: list[str], cause: TastemakerError) -> None:
        super().__init__(str(cause))
        self.stored = stored
        """What was acknowledged."""
        self.bad_rows = bad_rows
        """What the server refuses, with the lines of the file."""
        self.cause = cause


def import_events(
    client: Client,
    rows: Iterable[EventRow],
    *,
    timeout_seconds: float,
    progress: Callable[[int], None] = lambda _: None,
) -> FeedbackReceipt:
    """Sends events in calls of up to 500.

    Args:
        client: an open client; its retries of UNAVAILABLE apply to each call.
        rows: the events in their order.
        timeout_seconds: the deadline of each call.
        progress: told, in this thread, how many events are done whenever there are more.

    Returns:
        How many were new and how many had been stored before, over all calls.

    Raises:
        ImportStoppedError: a call failed. Those in flight have ended, no others were begun. Importing the same file
            again is safe and goes on where this stopped.
    """
    with ThreadPoolExecutor(max_workers=LANE_COUNT) as pool:
        importer = _Importer(client, pool, timeout_seconds, progress)
        for row in rows:
            importer.add(row)
        return importer.finish()


class _Importer:
    def __init__(
        self, client: Client, pool: ThreadPoolExecutor, timeout_seconds: float, progress: Callable[[int], None]
    ) -> None:
        self._client = client
        self._pool = pool
        self._timeout_seconds = timeout_seconds
        self._progress = progress
        self._accepted = self._duplicates = 0
        self._waiting: list[list[EventRow]] = [[] for _ in range(LANE_COUNT)]
        self._in_flight: dict[int, tuple[list[EventRow], Future[FeedbackReceipt]]] = {}

    def add(self, row: EventRow) -> None:
        lane = zlib.crc32(row.event.user_id.encode()) % LANE_COUNT
        self._waiting[lane].append(row)
        if len(self._waiting[lane]) == BATCH_SIZE:
            self._send(lane)

    def finish(self) -> FeedbackReceipt:
        for lane in range(LANE_COUNT):
            if self._waiting[lane]:
                self._send(lane)
        for lane in list(self._in_flight):
            self._settle(lane)
        return FeedbackReceipt(self._accepted, self._duplicates)

    def _send(self, lane: int) -> None:
        self._settle(lane)
        batch, self._waiting[lane] = self._waiting[lane], []
        events = [row.event for row in batch]
        call = self._pool.submit(self._client.feedback, events, timeout_seconds=self._timeout_seconds)
        self._in_flight[lane] = (batch, call)

    def _settle(self, lane: int) -> None:
        """Waits for the call that the lane has in flight, if it has one."""
        if lane not in self._in_flight:
            return
        batch, call = self._in_flight.pop(lane)
        try:
            self._count(call.result())
        except TastemakerError as error:
            for _, other in self._in_flight.values():
                if other.exception() is None:
                    self._count(other.result())
            stored = FeedbackReceipt(self._accepted, self._duplicates)
            raise ImportStoppedError(stored, _bad_rows(error, batch), error) from error

    def _count(self, receipt: FeedbackReceipt) -> None:
        self._accepted += receipt.accepted_count
        self._duplicates += receipt.duplicate_count
        self._progress(self._accepted + self._duplicates)


def _bad_rows(error: TastemakerError, batch: list[EventRow]) -> list[str]:
    if not isinstance(error, InvalidRequestError | EventIdReusedError):
        return []
    lines = []
    for violation in error.field_violations:
        match = _EVENT_FIELD.fullmatch(violation.field)
        place = f"line {batch[int(match[1])].line}: {match[2] or 'event'}" if match else violation.field
        lines.append(f"{place}: {violation.description}")
    return lines
