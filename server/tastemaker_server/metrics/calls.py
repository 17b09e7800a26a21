"""Every call by method, status and reason; how long calls take, how many are under way.

What ended a call is read where the caller reads it too: in the status and its `google.rpc.ErrorInfo`. So whatever
refuses a call, it is counted.
"""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from prometheus_client import CollectorRegistry, Gauge

from tastemaker_server.metrics.buckets import LATENCY_SECONDS
from tastemaker_server.metrics.unlocked import Count, Counts, Histogram, Histograms

__all__ = ["CallMetrics", "MethodMetrics"]

# A caller whose deadline passes cancels the call, and its clock began earlier than ours by the request's way here.
_LAST_PART = 0.2
_DETAILS = "grpc-status-details-bin"


class CallMetrics:
    """Counts every call of every method that the server has."""

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

    def unknown(self) -> None:
        """Counts a call of a method that the server does not have; its name is the caller's, and can be no label."""
        self._calls.labels("unknown", grpc.StatusCode.UNIMPLEMENTED.name, "").value += 1

    def of(self, path: str) -> "MethodMetrics":
        """What is counted of a method.

        Args:
            path: Its name as in a call, `/tastemaker.v1.FeedbackService/Feedback`.
        """
        method = _short(path)
        counted = MethodMetrics(method, self._calls)
        self._in_flight.labels(method).set_function(lambda: counted.under_way.value)
        return counted

    def seconds_of(self, path: str) -> Histogram:
        """How long the calls of a method took that is no stream; for `path` see `of`."""
        return self._seconds.labels(_short(path))

    def counting_stream(self, handler: Any, path: str) -> Any:
        """Returns a stream's handler that counts as well; for `path` see `of`."""
        kind = ("stream_" if handler.request_streaming else "unary_") + (
            "stream" if handler.response_streaming else "unary"
        )
        behaviour = getattr(handler, kind)
        wrap = self._generator if inspect.isasyncgenfunction(behaviour) else self._coroutine
        return getattr(grpc, f"{kind}_rpc_method_handler")(
            wrap(behaviour, self.of(path)),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _coroutine(
        self, behaviour: Callable[..., Awaitable[Any]], counted: "MethodMetrics"
    ) -> Callable[..., Awaitable[Any]]:
        async def call(request: Any, context: Any) -> Any:
            with self._counting(counted, context):
                return await behaviour(request, context)

        return call

    def _generator(
        self, behaviour: Callable[..., AsyncIterator[Any]], counted: "MethodMetrics"
    ) -> Callable[..., AsyncIterator[Any]]:
        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            with self._counting(counted, context):
                async for response in behaviour(request, context):
                    yield response

        return call

    @contextlib.contextmanager
    def _counting(self, counted: "MethodMetrics", context: Any) -> Iterator[None]:
        began = self._monotonic()
        counted.under_way.value += 1
        try:
            yield
        except BaseException as error:
            counted.count_failure(error, context, self._monotonic() - began)
            raise
        else:
            counted.ok.value += 1
        finally:
            counted.under_way.value -= 1


class MethodMetrics:
    """What is counted of one method, for whoever calls it."""

    def __init__(self, method: str, calls: Counts) -> None:
        self._method = method
        self._calls = calls
        self.ok = calls.labels(method, "OK", "")
        """Calls that ended well."""
        self.under_way = Count()
        """Calls that have not ended."""

    def count_failure(self, error: BaseException, context: Any, seconds: float) -> None:
        """Counts a call that ended with an exception, once its status is set.

        Args:
            error: What came out of its handler; of a caller that goes away, CancelledError or GeneratorExit.
            context: gRPC's, of the call.
            seconds: How long it took.
        """
        code, reason = "UNKNOWN", ""
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            left = context.time_remaining()
            is_late = left is not None and left <= _LAST_PART * (seconds + left)
            code = "DEADLINE_EXCEEDED" if is_late else "CANCELLED"
        elif isinstance(error, grpc.aio.AbortError):
            code, reason = context.code().name, _reason(context.trailing_metadata())
        self._calls.labels(self._method, code, reason).value += 1


def _short(path: str) -> str:
    """/tastemaker.v1.FeedbackService/Feedback: FeedbackService/Feedback."""
    return path.rpartition(".")[2]


def _reason(trailers: Any) -> str:
    """ErrorInfo's reason; "" for a status without one, as health and reflection have it."""
    for key, value in trailers or ():
        if key == _DETAILS:
            info = error_details_pb2.ErrorInfo()
            if any(detail.Unpack(info) for detail in status_pb2.Status.FromString(value).details):
                return str(info.reason)
    return ""
