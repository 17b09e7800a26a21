"""A line in the log for a finished call: always where it failed or was slow, else only at DEBUG.

It gives every call its request id and returns that in the answer's trailing metadata. The line has no user id and
nothing of what was sent but the surface's name.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from tastemaker.v1 import recommendation_service_pb2
from tastemaker_server.call import REQUEST_ID_KEY, Call, begin_call, current_call, metadata_value
from tastemaker_server.unary_interceptor import Behaviour, UnaryInterceptor

__all__ = ["CallLogInterceptor"]

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


class CallLogInterceptor(UnaryInterceptor):
    """It stands before whatever works inside a call, and behind what only counts."""

    def __init__(self, *, slow_call_milliseconds: int) -> None:
        """Takes the time from which on a call that went well has a line at INFO."""
        super().__init__()
        self._slow_seconds = slow_call_milliseconds / 1000

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], details: Any) -> Any:
        """See `UnaryInterceptor.intercept_service`; begins the call, as the metadata is at hand here."""
        begin_call(details.invocation_metadata)
        return await super().intercept_service(continuation, details)

    def wrap(self, behaviour: Behaviour, method: str) -> Behaviour:
        """See `UnaryInterceptor.wrap`."""
        return _observed(behaviour, method, self._slow_seconds)


def _observed(behaviour: Behaviour, method: str, slow_seconds: float) -> Behaviour:
    async def call(request: Any, context: Any) -> Any:
        started = time.monotonic()
        begun = current_call()
        try:
            response = await behaviour(request, context)
        except asyncio.CancelledError:  # the caller has gone, or its deadline has passed
            _write(method, "CANCELLED", begun, time.monotonic() - started)
            raise
        except Exception:
            code = context.code()  # set by whoever aborted
            name = "UNKNOWN" if code is None else code.name
            _write(method, name, begun, time.monotonic() - started)
            raise
        context.set_trailing_metadata(((REQUEST_ID_KEY, metadata_value(begun.request_id)),))
        seconds = time.monotonic() - started
        if seconds >= slow_seconds or _log.isEnabledFor(logging.DEBUG):
            _write(method, "OK", begun, seconds, slow=seconds >= slow_seconds)
        return response

    return call


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
