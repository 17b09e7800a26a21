"""A line in the log for a finished call: always where it failed or was slow, else only at DEBUG.

The line has no user id and nothing of what was sent but the surface's name.
"""

import asyncio
import logging
from typing import Any

import grpc

from tastemaker.v1 import recommendation_service_pb2
from tastemaker_server.call import Call

__all__ = ["CallLog"]

_log = logging.getLogger(__name__)

# What the operator may have to mend; with the other codes the caller has to.
_OURS = frozenset(
    code.name
    for code in (
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    )
)


class CallLog:
    """One for all calls."""

    def __init__(self, *, slow_call_milliseconds: int) -> None:
        self.slow_seconds = slow_call_milliseconds / 1000
        """From which time on a call that went well has a line at INFO."""

    @property
    def has_every_call(self) -> bool:
        """Whether calls that went well and fast have a line too."""
        return _log.isEnabledFor(logging.DEBUG)

    def went_well(self, method: str, call: Call, seconds: float) -> None:
        """Writes the line of a call that had an answer."""
        _write(method, "OK", call, seconds, slow=seconds >= self.slow_seconds)

    def failed(self, method: str, call: Call, error: BaseException, context: Any, seconds: float) -> None:
        """Writes the line of a call that ended with an exception, once its status is set."""
        if isinstance(error, Exception):
            code = context.code()  # set by whoever aborted
            _write(method, "UNKNOWN" if code is None else code.name, call, seconds)
        elif isinstance(error, asyncio.CancelledError):  # the caller has gone, or its deadline has passed
            _write(method, "CANCELLED", call, seconds)


def _write(method: str, code: str, call: Call, seconds: float, *, slow: bool = False) -> None:
    if code == "OK":
        level = logging.INFO if slow else logging.DEBUG
    else:
        level = logging.WARNING if code in _OURS else logging.INFO
    milliseconds = round(seconds * 1000, 3)
    fields: dict[str, Any] = {"method": method, "code": code, "duration_ms": milliseconds}
    if call.reason:
        fields["reason"] = call.reason
    if call.surface:
        fields["surface"] = call.surface
    if call.tier:
        fields["tier"] = recommendation_service_pb2.Tier.Name(call.tier).removeprefix("TIER_")
    detail = f": {call.detail}" if call.detail else f" ({call.reason})" if call.reason else ""
    _log.log(level, "%s %s after %.1f ms%s", method, code, milliseconds, detail, extra=fields)
