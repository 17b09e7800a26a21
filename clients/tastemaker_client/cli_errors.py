"""The words of the `tastemaker` command for what went wrong: what happened, each bad field, the mending."""

import re
from argparse import Namespace
from collections.abc import Sequence

from tastemaker_client.errors import (
    DeadlineExceededError,
    EventIdReusedError,
    InternalError,
    InvalidRequestError,
    TastemakerError,
    UnavailableError,
)
from tastemaker_client.event import Event
from tastemaker_client.import_events import ImportStoppedError

__all__ = ["call_error_lines", "import_error_lines", "unknown_outcome_lines"]

# Requests name their fields, people type options.
_OPTIONS = {
    "attribution_token": "--attribution-token",
    "event_id": "--event-id",
    "event_time": "--time",
    "event_type": "--type",
    "item_id": "--item",
    "max_results": "--max-results",
    "rating": "--rating",
    "surface": "--surface",
    "user_id": "--user",
}
_EVENT_PREFIX = re.compile(r"events\[\d+\]\.")


def call_error_lines(error: TastemakerError, options: Namespace) -> list[str]:
    """What a failed call means to someone at a terminal.

    Args:
        error: what the call raised.
        options: the command's arguments.

    Returns:
        Lines: the first one says what happened, the others what to do.
    """
    lines = _what_happened(error, options)
    is_for_operators = not isinstance(error, InvalidRequestError | EventIdReusedError) and bool(
        error.reason or not isinstance(error, UnavailableError)
    )
    return [*lines, f"request id, for the server's logs: {error.request_id}"] if is_for_operators else lines


def _what_happened(error: TastemakerError, options: Namespace) -> list[str]:
    match error:
        case UnavailableError(reason=""):
            return [
                f"no server answers at {options.address}",
                f"gRPC says: {error.message}",
                "start one: `make up` in a checkout, or `tastemaker-server`",
                "or name another: --address HOST:PORT, or TASTEMAKER_ADDRESS",
            ]
        case UnavailableError():
            delay = error.retry_delay_seconds
            return [error.message, f"try again in {delay:g} s" if delay else "try again"]
        case DeadlineExceededError():
            return [
                f"no answer from {options.address} within {options.timeout_seconds:g} s",
                f"see how it is: tastemaker health --address {options.address}",
                "or give it longer: --timeout-seconds SECONDS",
            ]
        case InvalidRequestError() | EventIdReusedError() if error.field_violations:
            count = error.field_count
            first = f"the request has {count} wrong field{'' if count == 1 else 's'}"
            return [first, *(f"{_option(v.field)}: {v.description}" for v in error.field_violations)]
        case InternalError(incident_id=incident_id) if incident_id:
            return [error.message, f"the server's logs have more: look for {incident_id}"]
        case _:
            return [error.message or f"the server answered {error.code.name}"]


def unknown_outcome_lines(error: TastemakerError, events: Sequence[Event]) -> list[str]:
    """How to send feedback again after a failure that does not tell whether it was stored; none after a refusal."""
    if not isinstance(error, DeadlineExceededError | InternalError | UnavailableError):
        return []
    ids = " ".join(f"--event-id {event.event_id}" for event in events)
    return [f"if it was stored nevertheless, sending it again does no harm with: {ids}"]


def import_error_lines(error: ImportStoppedError, options: Namespace) -> list[str]:
    """Why an import stopped, how far it came and how to go on."""
    if error.bad_rows:
        first, *rest = [f"the server refuses rows of {options.file}", *error.bad_rows]
    else:
        first, *rest = call_error_lines(error.cause, options)
    done = error.stored.accepted_count + error.stored.duplicate_count
    return [
        first,
        *rest,
        f"{done:,} events are stored; import the file again to go on, they will count as duplicates",
    ]


def _option(field: str) -> str:
    name = _EVENT_PREFIX.sub("", field)
    return f"{_OPTIONS[name]} ({field})" if name in _OPTIONS else field
