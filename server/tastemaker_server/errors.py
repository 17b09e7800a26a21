"""The errors that the front raises on purpose.

    FrontError                       carries a gRPC code and a tastemaker.v1.ErrorReason
    ├── InvalidFieldsError           the request is wrong: every bad field, at once
    ├── UnknownSurfaceError          no such surface is configured
    ├── EventIdReusedError           an event id came again with other content
    └── StoreUnavailableError        the event log or the online store cannot be read or written
    SettingsError                    the configuration is wrong: every bad setting, at once; stops the start
    CommandError                     a command of `tastemaker-server` cannot do its work

Code raises these and nothing catches them but `error_status`, which turns a FrontError into a status.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import grpc

from tastemaker.v1 import error_reason_pb2

__all__ = [
    "CommandError",
    "EventIdReusedError",
    "FieldViolation",
    "FrontError",
    "InvalidFieldsError",
    "SettingsError",
    "StoreUnavailableError",
    "UnknownSurfaceError",
]


@dataclass(frozen=True)
class FieldViolation:
    """One bad field."""

    field: str
    """Its path in the request, for example `events[3].rating`."""
    description: str
    """What it was, what it may be, and so how to mend it."""


class FrontError(Exception):
    """An error with a place in the API. Raise one of its subclasses."""

    code: ClassVar[grpc.StatusCode]
    reason: ClassVar[error_reason_pb2.ErrorReason]

    violations: Sequence[FieldViolation] = ()
    """Bad fields, for google.rpc.BadRequest."""
    metadata: Mapping[str, str] = {}
    """For google.rpc.ErrorInfo."""
    retry_delay_seconds: float | None = None
    """For google.rpc.RetryInfo; None where a retry does not help."""


class InvalidFieldsError(FrontError):
    """At least one field of the request is wrong."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = error_reason_pb2.ERROR_REASON_INVALID_FIELDS

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"{first.field}: {first.description}{more}")
        self.violations = violations
        self.metadata = {"field_count": str(len(violations))}


class UnknownSurfaceError(FrontError):
    """The operator has configured no surface of that name."""

    code = grpc.StatusCode.NOT_FOUND
    reason = error_reason_pb2.ERROR_REASON_UNKNOWN_SURFACE

    def __init__(self, surface: str, known_surfaces: Sequence[str]) -> None:
        known = ",".join(sorted(known_surfaces))
        super().__init__(f"surface: {surface!r} is not configured; known surfaces: {known}")
        self.violations = [FieldViolation("surface", f"{surface!r} is not configured; one of: {known}")]
        self.metadata = {"surface": surface, "known_surfaces": known}


class EventIdReusedError(FrontError):
    """An event id came again with other content. Nothing of the call was stored."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = error_reason_pb2.ERROR_REASON_EVENT_ID_REUSED

    def __init__(self, event_ids: Mapping[int, str]) -> None:
        """Takes the reused ids by their index in the call."""
        names = ", ".join(repr(event_id) for event_id in list(event_ids.values())[:10])
        super().__init__(f"event_id sent before with other content, nothing was stored: {names}")
        self.event_ids = dict(event_ids)
        """The reused ids by their index in the call."""
        self.violations = [
            FieldViolation(
                f"events[{index}].event_id", f"{event_id!r} was sent before with other content; use a new id"
            )
            for index, event_id in event_ids.items()
        ]
        self.metadata = {"event_ids": ",".join(list(event_ids.values())[:10])}


class StoreUnavailableError(FrontError):
    """The event log or the online store cannot be read or written now."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = error_reason_pb2.ERROR_REASON_STORE_UNAVAILABLE
    retry_delay_seconds = 0.5

    def __init__(self, store: str, cause: object) -> None:
        super().__init__(f"{store} is unavailable: {cause}")
        self.metadata = {"store": store}


class CommandError(Exception):
    """A command of `tastemaker-server` cannot do its work; the message says why and what helps."""


class SettingsError(Exception):
    """The configuration is wrong; `problems` has a line for each bad setting."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)
