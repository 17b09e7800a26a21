"""The asyncio client. `client` has the blocking one, and the words that go for both."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self, TypeVar

import grpc
import grpc.aio

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

__all__ = ["AsyncClient"]

Result = TypeVar("Result")


class AsyncClient:
    """`Client` for asyncio: the same calls, arguments, results and exceptions, awaited.

    Make one per event loop. It may be made before the loop runs: the channel opens at the first call, and belongs to
    the loop of that call.

    >>> import asyncio
    >>> from tastemaker_client import AsyncClient
    >>> async def pages():
    ...     async with AsyncClient(address) as client:
    ...         return await asyncio.gather(*(client.recommend(user, "home", max_results=2) for user in ("42", "43")))
    >>> [page.user_id for page in asyncio.run(pages())]
    ['42', '43']
    """

    def __init__(
        self,
        address: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        options: Mapping[str, str | int] | None = None,
    ) -> None:
        """Makes a client; see `Client` for the arguments."""
        self._address = address
        self._credentials = credentials
        self._options = channel_options(options or {})
        self._channel: grpc.aio.Channel | None = None
        self._stubs: Stubs | None = None

    async def recommend(
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
        """Asks for one ranked page; see `Client.recommend`."""
        call = recommend_call(
            user_id, surface, max_results=max_results, request_id=request_id, item_id=item_id, segment=segment
        )
        return await self._send(call, timeout_seconds)

    async def feedback(
        self,
        events: Iterable[Event],
        *,
        request_id: str = "",
        timeout_seconds: float = FEEDBACK_TIMEOUT_SECONDS,
    ) -> FeedbackReceipt:
        """Stores what users did; see `Client.feedback`."""
        return await self._send(feedback_call(events, request_id=request_id), timeout_seconds)

    async def health(self, component: str = "", *, timeout_seconds: float = HEALTH_TIMEOUT_SECONDS) -> HealthStatus:
        """Asks how the server is; see `Client.health`."""
        return await self._send(health_call(component), timeout_seconds)

    async def close(self) -> None:
        """Closes the connection; calls in flight are cancelled."""
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, call: Call[Result], timeout_seconds: float) -> Result:
        try:
            response = await getattr(self._open(), call.method)(
                call.request, timeout=timeout_seconds, metadata=call.metadata
            )
        except grpc.RpcError as error:
            raise error_from_rpc(error, request_id=call.request_id) from error
        return call.read(response)

    def _open(self) -> Stubs:
        if self._stubs is None:
            if self._credentials is None:
                self._channel = grpc.aio.insecure_channel(self._address, self._options)
            else:
                self._channel = grpc.aio.secure_channel(self._address, self._credentials, self._options)
            self._stubs = Stubs(self._channel)
        return self._stubs
