"""The one interceptor: what happens around every call, whichever method it is for.

A call is counted; one that is not a stream gets its request id, a status for what its handler raises, and a line in the
log. All of it is one wrapper, made at a method's first call: each interceptor more, and each coroutine around another,
costs every call some microseconds.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from tastemaker_server.call import REQUEST_ID_KEY, begin_call, current_call, metadata_value
from tastemaker_server.call_log import CallLog
from tastemaker_server.error_status import abort_with
from tastemaker_server.metrics.calls import CallMetrics

__all__ = ["CallInterceptor"]

_Unary = Callable[[Any, Any], Awaitable[Any]]
"""Takes a request and its context, and returns the response."""


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Streams (health's Watch, reflection) are counted and otherwise left as they are."""

    def __init__(self, *, metrics: CallMetrics, log: CallLog, monotonic: Callable[[], float]) -> None:
        self._metrics = metrics
        self._log = log
        self._monotonic = monotonic
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], details: Any) -> Any:
        """Returns the handler that the server has for this call, wrapped."""
        wrapped = self._wrapped.get(details.method)
        if wrapped is None:
            handler = await continuation(details)
            if handler is None:
                self._metrics.unknown()
                return None
            wrapped = self._wrapped[details.method] = self._wrap(handler, details.method)
        if wrapped.unary_unary is not None:
            begin_call(details.invocation_metadata)  # here, where it is at hand: to ask the context for it costs more
        return wrapped

    def _wrap(self, handler: Any, method: str) -> Any:
        if handler.unary_unary is None:
            return self._metrics.counting_stream(handler, method)
        return grpc.unary_unary_rpc_method_handler(
            self._around(handler.unary_unary, method),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _around(self, behaviour: _Unary, method: str) -> _Unary:
        counted, took = self._metrics.of(method), self._metrics.seconds_of(method)
        log, slow_seconds, monotonic = self._log, self._log.slow_seconds, self._monotonic

        async def call(request: Any, context: Any) -> Any:
            began = monotonic()
            counted.under_way.value += 1
            begun = current_call()
            try:
                try:
                    response = await behaviour(request, context)
                except Exception as error:  # of BaseException it is only that the caller has gone
                    await abort_with(error, context, method)
                    raise
                context.set_trailing_metadata(((REQUEST_ID_KEY, metadata_value(begun.request_id)),))
                seconds = monotonic() - began
                if seconds >= slow_seconds or log.has_every_call:
                    log.went_well(method, begun, seconds)
                counted.ok.value += 1
            except BaseException as error:
                seconds = monotonic() - began
                log.failed(method, begun, error, context, seconds)
                counted.count_failure(error, context, seconds)
                raise
            else:
                return response
            finally:
                counted.under_way.value -= 1
                took.observe(monotonic() - began)

        return call
