"""The blocking client. `aio` has the asyncio one; what goes over the wire is in `calls`."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self, TypeVar

import grpc

from tastemaker_client.calls import (
    FEEDBACK_TIMEOUT_SECONDS,
    HEALTH_TIMEOUT_SECONDS,
    RECOMMEND_TIMEOUT_SECONDS,
    Call,
    Stubs,
    feedback_call,
    health_call,
    recommend_call,
)
from tastemaker_client.channel import channel_options
from tastemaker_client.errors import error_from_rpc
from tastemaker_client.event import Event, FeedbackReceipt
from tastemaker_client.health import HealthStatus
from tastemaker_client.page import Page

__all__ = ["Client"]

Result = TypeVar("Result")


class Client:
    """Calls Tastemaker, and blocks until there is an answer or the deadline has passed.

    Make one per process (after a fork, not before) and share it between threads; it connects at the first call and
    reconnects by itself. UNAVAILABLE is retried within the deadline, up to three times; nothing else is.

    >>> from tastemaker_client import Client, EventType
    >>> with Client(address) as client:
    ...     page = client.recommend("42", "home", max_results=2)
    ...     receipt = client.feedback([page.event(page.items[0].item_id, EventType.CONSUME)])
    >>> page.tier, len(page.items), receipt.accepted_count
    (<Tier.LIVE_MODEL: 'LIVE_MODEL'>, 2, 1)
    """

    def __init__(
        self,
        address: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        options: Mapping[str, str | int] | None = None,
    ) -> None:
        """Makes a client; nothing is sent yet.

        Args:
            address: a gRPC target, "127.0.0.1:50051" or "dns:///tastemaker:50051", whose addresses take turns.
            credentials: for TLS; None for plain text.
            options: gRPC channel arguments beside or instead of those in `channel`.
        """
        arguments = channel_options(options or {})
        if credentials is None:
            self._channel = grpc.insecure_channel(address, arguments)
        else:
            self._channel = grpc.secure_channel(address, credentials, arguments)
        self._stubs = Stubs(self._channel)

    def recommend(
        self,
        user_id: str,
        surface: str,
        *,
        max_results: int = 0,
        request_id: str = "",
        item_id: str = "",
        segment: str = "",
        timeout_seconds: float = RECOMMEND_TIMEOUT_SECONDS,
    ) -> Page:
        """Asks for one ranked page.

        Args:
            user_id: the user, known or not.
            surface: where the page will be shown: a name that the operator configured.
            max_results: at most so many items; 0 takes the surface's default, more than its cap is capped.
            request_id: for logs and traces, up to 128 bytes; one is made if it is empty. Retries keep it.
            item_id: the item that is shown, for surfaces of items similar to it; kept off the page.
            segment: the group that the user is sorted into, for what is popular there.
            timeout_seconds: the deadline of the call with all its retries, 0.5 s by default.

        Returns:
            The page. A user that nobody knows, or a model that is down, gives a page from another tier.

        Raises:
            TastemakerError: one of its subclasses, see `errors`.
        """
        call = recommend_call(
            user_id, surface, max_results=max_results, request_id=request_id, item_id=item_id, segment=segment
        )
        return self._send(call, timeout_seconds)

    def feedback(
        self,
        events: Iterable[Event],
        *,
        request_id: str = "",
        timeout_seconds: float = FEEDBACK_TIMEOUT_SECONDS,
    ) -> FeedbackReceipt:
        """Stores what users did: all events or, on any error, none.

        Args:
            events: 1 to 500 events, of any users. Sending an event again changes nothing.
            request_id: as `recommend` takes it.
            timeout_seconds: the deadline of the call with all its retries, 5 s by default.

        Returns:
            How many were new. They are on disk, and the next `recommend` sees them.

        Raises:
            TastemakerError: one of its subclasses, see `errors`.
        """
        return self._send(feedback_call(events, request_id=request_id), timeout_seconds)

    def health(self, component: str = "", *, timeout_seconds: float = HEALTH_TIMEOUT_SECONDS) -> HealthStatus:
        """Asks how the server is, or one component of it, "event_log" for example.

        Args:
            component: "" for the whole server.
            timeout_seconds: the deadline of the call, 1 s by default.

        Returns:
            Its status.

        Raises:
            TastemakerError: NOT_FOUND where the server has no such component.
        """
        return self._send(health_call(component), timeout_seconds)

    def close(self) -> None:
        """Closes the connection; calls in flight are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, call: Call[Result], timeout_seconds: float) -> Result:
        try:
            response = getattr(self._stubs, call.method)(call.request, timeout=timeout_seconds, metadata=call.metadata)
        except grpc.RpcError as error:
            raise error_from_rpc(error, request_id=call.request_id) from error
        return call.read(response)
