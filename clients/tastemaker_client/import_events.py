"""Sends the events of a file in the order of the file.

One call is in flight at a time. Positions in the event log break ties between events of one time, so the order of the
file must be kept, and the server promises no order between calls that overlap.
"""

import itertools
import re
from collections.abc import Callable, Iterable

from tastemaker_client.client import Client
from tastemaker_client.errors import EventIdReusedError, InvalidRequestError, TastemakerError
from tastemaker_client.event import FeedbackReceipt
from tastemaker_client.event_file import EventRow

__all__ = ["BATCH_SIZE", "ImportStoppedError", "import_events"]

BATCH_SIZE = 500
"""As many events as one call may carry."""

_EVENT_FIELD = re.compile(r"events\[(\d+)\]\.?(\w*)")


class ImportStoppedError(Exception):
    """A call failed for good; what was acknowledged before it stays stored."""

    def __init__(self, stored: FeedbackReceipt, bad_rows: list[str], cause: TastemakerError) -> None:
        super().__init__(str(cause))
        self.stored = stored
        """What was acknowledged before."""
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
    """Sends events in calls of 500.

    Args:
        client: an open client; its retries of UNAVAILABLE apply to each call.
        rows: the events in their order.
        timeout_seconds: the deadline of each call.
        progress: told after each call how many events are done.

    Returns:
        How many were new and how many had been stored before, over all calls.

    Raises:
        ImportStoppedError: a call failed. Importing the same file again is safe and goes on where this stopped.
    """
    accepted = duplicates = 0
    remaining = iter(rows)
    while batch := list(itertools.islice(remaining, BATCH_SIZE)):
        try:
            receipt = client.feedback([row.event for row in batch], timeout_seconds=timeout_seconds)
        except TastemakerError as error:
            raise ImportStoppedError(FeedbackReceipt(accepted, duplicates), _bad_rows(error, batch), error) from error
        accepted += receipt.accepted_count
        duplicates += receipt.duplicate_count
        progress(accepted + duplicates)
    return FeedbackReceipt(accepted, duplicates)


def _bad_rows(error: TastemakerError, batch: list[EventRow]) -> list[str]:
    if not isinstance(error, InvalidRequestError | EventIdReusedError):
        return []
    lines = []
    for violation in error.field_violations:
        match = _EVENT_FIELD.fullmatch(violation.field)
        place = f"line {batch[int(match[1])].line}: {match[2] or 'event'}" if match else violation.field
        lines.append(f"{place}: {violation.description}")
    return lines
