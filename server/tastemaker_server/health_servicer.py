"""The standard `grpc.health.v1` service, for asyncio.

Not grpcio-health-checking's own servicer (only its messages): there, of two watchers of one name, the second hears of
no change any more once the first has gone, and watchers hold up a drain until its grace is over. Both matter where
every client watches.
"""

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

__all__ = ["HealthServicer"]

_STATUS: Any = health_pb2.HealthCheckResponse


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # the stubs have no types
    """Knows a status for each name that was ever set."""

    def __init__(self) -> None:
        self._serving: dict[str, bool] = {}
        self._changed = asyncio.Condition()
        self._draining = False
        self._ended = False

    async def set(self, name: str, *, serving: bool) -> None:
        """Sets the status of a component; of no effect once draining has begun."""
        async with self._changed:
            if not self._draining:
                self._serving[name] = serving
                self._changed.notify_all()

    async def drain(self) -> None:
        """Shows NOT_SERVING for every name from now on."""
        async with self._changed:
            self._draining = True
            self._serving = dict.fromkeys(self._serving, False)
            self._changed.notify_all()

    async def end_watches(self) -> None:
        """Ends every Watch, after it has told the newest status."""
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        """The status of one name; NOT_FOUND for one that was never set."""
        serving = self._serving.get(request.service)
        if serving is None:
            known = ", ".join(sorted(filter(None, self._serving)))
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no component {request.service!r}; known: {known}")
        return _response(serving)

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802  # gRPC's name
        """The status of one name now and at each change; SERVICE_UNKNOWN while it was never set."""
        shown: Any = None
        while True:
            response = _response(self._serving.get(request.service))
            if response != shown:
                await context.write(response)
                shown = response
            async with self._changed:
                if _response(self._serving.get(request.service)) != shown:
                    continue
                if self._ended:
                    return
                await self._changed.wait()


def _response(serving: bool | None) -> Any:
    if serving is None:
        return health_pb2.HealthCheckResponse(status=_STATUS.SERVICE_UNKNOWN)
    return health_pb2.HealthCheckResponse(status=_STATUS.SERVING if serving else _STATUS.NOT_SERVING)
