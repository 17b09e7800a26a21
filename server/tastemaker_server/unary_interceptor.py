"""What interceptors of unary calls share: each handler is wrapped once, at its first call."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

__all__ = ["Behaviour", "UnaryInterceptor"]

Behaviour = Callable[[Any, Any], Awaitable[Any]]
"""Takes a request and its context, and returns the response."""


class UnaryInterceptor(grpc.aio.ServerInterceptor):
    """Streaming handlers (health, reflection) stay as they are."""

    def __init__(self) -> None:
        self._wrapped: dict[str, Any] = {}

    @abstractmethod
    def wrap(self, behaviour: Behaviour, method: str) -> Behaviour:
        """Returns what is called in place of `behaviour`, the handler of `method`."""

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], details: Any) -> Any:
        """Returns the handler of `details.method`, wrapped if it is unary."""
        wrapped = self._wrapped.get(details.method)
        if wrapped is not None:
            return wrapped
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        wrapped = grpc.unary_unary_rpc_method_handler(
            self.wrap(handler.unary_unary, details.method),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        self._wrapped[details.method] = wrapped
        return wrapped
