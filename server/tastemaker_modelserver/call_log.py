"""A line in the log for a finished call: always where it failed or was slow, else only at DEBUG.

The caller's request id is looked for only when a line is written, so that a call without one costs next to nothing.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

import grpc

__all__ = ["CallLog"]

_log = logging.getLogger(__name__)

_REQUEST_ID_KEY = "x-request-id"
_GOOD_ID = re.compile(r"[!-~]{1,384}")  # as the front sends it; anything else is not worth a line
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
    """Writes the lines."""

    def __init__(self, *, slow_call_milliseconds: int) -> None:
        """Takes the time from which on a call that went well has a line at INFO."""
        self._slow_s = slow_call_milliseconds / 1000

    def finished(
        self,
        method: str,
        *,
        model: str,
        code: str,
        started_s: float,
        sent: Callable[[], Iterable[tuple[str, Any]]],
        message: str = "",
    ) -> None:
        """Writes the line of a call, if it is to have one.

        Args:
            method: What was called.
            model: The model's name as the caller gave it; "" for calls that name several.
            code: The name of the gRPC status.
            started_s: When the call came in, on the `time.monotonic` clock.
            sent: Gives the metadata, or the HTTP headers, that came with it.
            message: What the caller is told of a failure. Left out with INVALID_ARGUMENT: what is said of a wrong input
                may quote it, and inputs are what users did.
        """
        seconds = time.monotonic() - started_s
        level = logging.WARNING if code in _OURS else logging.INFO
        if code == "OK" and seconds < self._slow_s:
            level = logging.DEBUG
        if not _log.isEnabledFor(level):
            return
        milliseconds = round(seconds * 1000, 3)
        fields: dict[str, Any] = {"method": method, "code": code, "duration_ms": milliseconds}
        if model:
            fields["model"] = model
        request_id = next((value for key, value in sent() if key.lower() == _REQUEST_ID_KEY), "")
        if isinstance(request_id, str) and _GOOD_ID.fullmatch(request_id):
            fields["request_id"] = request_id
        told = f": {message}" if message and code != grpc.StatusCode.INVALID_ARGUMENT.name else ""
        what = f"{method} of {model!r}" if model else method
        _log.log(level, "%s %s after %.1f ms%s", what, code, milliseconds, told, extra=fields)
