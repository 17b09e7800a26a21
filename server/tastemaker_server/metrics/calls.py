"""Every call by method, status and reason; how long calls take, how many are under way.

What ended a call is read where the caller reads it too: in the status and its `google.rpc.ErrorInfo`. So whatever
stands behind this interceptor may refuse a call, and it is counted.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from prometheus_client import CollectorRegistry, Gauge

from tastemaker_server.metrics.buckets import LATENCY_SECONDS
from tastemaker_server.metrics.unlocked import Count, Counts, Histogram, Histograms

__all__ = ["CallMetrics"]

# A caller whose deadline passes cancels the call, and its clock began earlier than ours by the request's way here.
_LAST_PART = 0.2
_DETAILS = "grpc-status-details-bin"


class CallMetrics(grpc.aio.ServerInterceptor):
    """Counts every call of every method that the server has. It has to be the first interceptor."""

    def __init__(self, *, registry: CollectorRegistry, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._calls = Counts(
            "tastemaker_front_calls",
            "Calls that ended, by how they ended.",
            ("method", "code", "reason"),
            registry=registry,
        )
        self._seconds = Histograms(
            "tastemaker_front_call_seconds",
            "How long calls took, however they ended; not of streams.",
            ("method",),
            bounds=LATENCY_SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "tastemaker_front_calls_in_flight", "Calls that are under way.", ("method",), registry=registry
        )
        self._wrapped: dict[str, tuple[Any, Any]] = {}

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], details: Any) -> Any:
        """Returns the handler that the rest of the server has for this call, counted."""
        handler = await continuation(details)
        if handler is None:  # the name is the caller's, so that it cannot be a label
            self._calls.labels("unknown", grpc.StatusCode.UNIMPLEMENTED.name, "").value += 1
            return None
        known = self._wrapped.get(details.method)
        if known is not None and known[0] is handler:
            return known[1]
        wrapped = self._wrap(handler, details.method)
        self._wrapped[details.method] = handler, wrapped
        return wrapped

    def _wrap(self, handler: Any, path: str) -> Any:
        method = path.rpartition(".")[2]  # /tastemaker.v1.FeedbackService/Feedback: FeedbackService/Feedback
        kind = ("stream_" if handler.request_streaming else "unary_") + (
            "stream" if handler.response_streaming else "unary"
        )
        behaviour = getattr(handler, kind)
        if inspect.isasyncgenfunction(behaviour):
            counted: Callable[..., Any] = self._generator(behaviour, method)
        else:
            is_stream = handler.request_streaming or handler.response_streaming
            counted = self._coroutine(behaviour, method, None if is_stream else self._seconds.labels(method))
        return getattr(grpc, f"{kind}_rpc_method_handler")(
            counted,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _coroutine(
        self, behaviour: Callable[..., Awaitable[Any]], method: str, seconds: Histogram | None
    ) -> Callable[..., Awaitable[Any]]:
        ok, under_way, monotonic = self._calls.labels(method, "OK", ""), self._under_way(method), self._monotonic

        async def call(request: Any, context: Any) -> Any:
            began = monotonic()
            under_way.value += 1
            try:
                response = await behaviour(request, context)
            except BaseException as error:  # a caller that goes away is one of these
                self._count_failure(method, error, context, monotonic() - began)
                raise
            else:
                ok.value += 1
                return response
            finally:
                under_way.value -= 1
                if seconds is not None:
                    seconds.observe(monotonic() - began)

        return call

    def _generator(
        self, behaviour: Callable[..., AsyncIterator[Any]], method: str
    ) -> Callable[..., AsyncIterator[Any]]:
        ok, under_way, monotonic = self._calls.labels(method, "OK", ""), self._under_way(method), self._monotonic

        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            began = monotonic()
            under_way.value += 1
            try:
                async for response in behaviour(request, context):
                    yield response
            except BaseException as error:
                self._count_failure(method, error, context, monotonic() - began)
                raise
            else:
                ok.value += 1
            finally:
                under_way.value -= 1

        return call

    def _under_way(self, method: str) -> Count:
        under_way = Count()
        self._in_flight.labels(method).set_function(lambda: under_way.value)
        return under_way

    def _count_failure(self, method: str, error: BaseException, context: Any, seconds: float) -> None:
        code, reason = "UNKNOWN", ""
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            left = context.time_remaining()
            is_late = left is not None and left <= _LAST_PART * (seconds + left)
            code = "DEADLINE_EXCEEDED" if is_late else "CANCELLED"
        elif isinstance(error, grpc.aio.AbortError):
            code, reason = context.code().name, _reason(context.trailing_metadata())
        self._calls.labels(method, code, reason).value += 1


def _reason(trailers: Any) -> str:
    """ErrorInfo's reason; "" for a status without one, as health and reflection have it."""
    for key, value in trailers or ():
        if key == _DETAILS:
            info = error_details_pb2.ErrorInfo()
            if any(detail.Unpack(info) for detail in status_pb2.Status.FromString(value).details):
                return str(info.reason)
    return ""
