"""What a call may raise.

    TastemakerError               any failure; itself where none below fits (PERMISSION_DENIED, for example)
    ├── InvalidRequestError       a field is wrong: .field_violations lists all of them. Do not retry.
    ├── UnknownSurfaceError       no such surface: .known_surfaces. Do not retry.
    ├── EventIdReusedError        an event_id came again with other content: .field_violations. Do not retry.
    ├── UnavailableError          not now: .retry_delay_seconds. The client has already retried.
    ├── DeadlineExceededError     no answer in time. Recommend and Feedback may both be sent again safely.
    └── InternalError             a defect of the platform: .incident_id is in its logs.

Each carries `.code`, `.reason` (a name of proto/tastemaker/v1/error_reason.proto, "" where the answer has none: no
connection, a deadline), `.metadata`, and `.request_id`, under which the server's logs have the call. The class follows
the reason, and the status code where there is no reason that this client knows: gRPC itself and proxies answer without
details, a newer server with newer reasons.

Mistakes that cannot be sent at all, a number for a text or a time without zone, are Python's TypeError and ValueError.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

__all__ = [
    "DeadlineExceededError",
    "EventIdReusedError",
    "Failure",
    "FieldViolation",
    "InternalError",
    "InvalidRequestError",
    "TastemakerError",
    "UnavailableError",
    "UnknownSurfaceError",
    "error_from_rpc",
]

_DOMAIN = "tastemaker"
_M = TypeVar("_M", bound=Message)


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One wrong field of a request."""

    field: str
    """Its path, for example "events[3].rating"."""
    description: str
    """What is wrong with it, and what would be right."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What the other side said about a failed call. One value, so that the exceptions can be pickled."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    field_violations: tuple[FieldViolation, ...] = ()
    retry_delay_seconds: float | None = None
    request_id: str = ""


class TastemakerError(Exception):
    """A call failed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self._failure = failure

    def __str__(self) -> str:
        return f"{self.reason or self.code.name}: {self.message}{self._request}"

    @property
    def code(self) -> grpc.StatusCode:
        """The gRPC status."""
        return self._failure.code

    @property
    def request_id(self) -> str:
        """The id of the call, under which the server's logs have it."""
        return self._failure.request_id

    @property
    def _request(self) -> str:
        return f" [request {self.request_id}]" if self.request_id else ""

    @property
    def message(self) -> str:
        """For people; it may change from one version of the server to the next."""
        return self._failure.message

    @property
    def reason(self) -> str:
        """Why, as a name of the proto's ErrorReason without its prefix; "" where the answer has none."""
        return self._failure.reason

    @property
    def metadata(self) -> Mapping[str, str]:
        """What belongs to the reason; error_reason.proto has a sample for each."""
        return self._failure.metadata


class _FieldsError(TastemakerError):
    def __str__(self) -> str:
        # The server's message repeats the first field; all of them tell more.
        if not self.field_violations:
            return super().__str__()
        lines = [f"  {violation.field}: {violation.description}" for violation in self.field_violations]
        return "\n".join([f"{self.reason or self.code.name}: {self.field_count} wrong{self._request}", *lines])

    @property
    def field_violations(self) -> tuple[FieldViolation, ...]:
        """The wrong fields, not only the first: as many as fit into an answer's trailers."""
        return self._failure.field_violations

    @property
    def field_count(self) -> int:
        """How many fields are wrong, those that did not fit included."""
        count = self.metadata.get("field_count", "")
        return int(count) if count.isdecimal() else len(self.field_violations)


class InvalidRequestError(_FieldsError):
    """At least one field of the request is wrong. Nothing was stored."""


class EventIdReusedError(_FieldsError):
    """An event_id was sent before with other content. Nothing was stored."""


class UnknownSurfaceError(TastemakerError):
    """The operator has configured no surface of that name."""

    @property
    def known_surfaces(self) -> tuple[str, ...]:
        """The surfaces that there are; empty where the answer does not say."""
        return tuple(name for name in self.metadata.get("known_surfaces", "").split(",") if name)


class UnavailableError(TastemakerError):
    """The server cannot be reached, is draining, or has lost its store, and the client's retries did not help."""

    @property
    def retry_delay_seconds(self) -> float | None:
        """How long the server asks to wait before the next try; None where nothing was said."""
        return self._failure.retry_delay_seconds


class DeadlineExceededError(TastemakerError):
    """No answer came in time. For Feedback it is unknown whether the events are stored; sending them again is safe."""


class InternalError(TastemakerError):
    """A defect of the platform."""

    @property
    def incident_id(self) -> str:
        """What to look for in the server's logs; "" where the answer does not say."""
        return self.metadata.get("incident_id", "")


_BY_REASON: Mapping[str, type[TastemakerError]] = {
    "EVENT_ID_REUSED": EventIdReusedError,
    "INTERNAL": InternalError,
    "INVALID_FIELDS": InvalidRequestError,
    "STORE_UNAVAILABLE": UnavailableError,
    "UNKNOWN_SURFACE": UnknownSurfaceError,
}

# NOT_FOUND and ALREADY_EXISTS are missing on purpose: without a reason they may be about anything, a proxy's route for
# example.
_BY_CODE: Mapping[grpc.StatusCode, type[TastemakerError]] = {
    grpc.StatusCode.DATA_LOSS: InternalError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.INTERNAL: InternalError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.UNKNOWN: InternalError,
}


def error_from_rpc(error: grpc.RpcError, *, request_id: str) -> TastemakerError:
    """Turns what gRPC raises, blocking or asyncio, into this package's exceptions.

    Args:
        error: a failed call, as `grpc` and `grpc.aio` raise it.
        request_id: the one that was sent; the answer's comes before it, for a proxy on the way may have set its own.

    Returns:
        The exception to raise from it.
    """
    failure = _failure(error, request_id)
    kind = _BY_REASON.get(failure.reason) or _BY_CODE.get(failure.code, TastemakerError)
    return kind(failure)


def _failure(call: grpc.RpcError, request_id: str) -> Failure:
    code, message = call.code(), call.details() or ""
    details = _details(call)
    reason, metadata = "", {}
    if (info := _unpack(details, error_details_pb2.ErrorInfo())) and info.domain == _DOMAIN:
        reason, metadata = info.reason, dict(info.metadata)
    bad = _unpack(details, error_details_pb2.BadRequest())
    retry = _unpack(details, error_details_pb2.RetryInfo())
    request = _unpack(details, error_details_pb2.RequestInfo())
    return Failure(
        code=code,
        message=message,
        reason=reason,
        metadata=metadata,
        field_violations=tuple(FieldViolation(v.field, v.description) for v in bad.field_violations) if bad else (),
        retry_delay_seconds=retry.retry_delay.ToTimedelta().total_seconds() if retry else None,
        request_id=request.request_id if request else request_id,
    )


def _details(call: grpc.RpcError) -> status_pb2.Status | None:
    try:
        return rpc_status.from_call(call)
    except (DecodeError, ValueError):
        # A proxy has changed the status or its details on the way. The status itself still tells what to do.
        return None


def _unpack(details: status_pb2.Status | None, into: _M) -> _M | None:
    for detail in details.details if details else ():
        try:
            if detail.Unpack(into):
                return into
        except DecodeError:
            continue
    return None
