"""`grpc.health.v1.Health`, for the flag that asks for it."""

import threading
from collections.abc import Mapping, Sequence

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from tastemaker_modelserver.call_server import Call, Handler

__all__ = ["Health"]

_SERVICE = "/grpc.health.v1.Health/"
_STATUS = health_pb2.HealthCheckResponse


class Health:
    """Says SERVING of each service until it stops."""

    def __init__(self, services: Sequence[str]) -> None:
        """Takes the names that can be asked for."""
        self._services = frozenset(services)
        self._lock = threading.Lock()
        self._serving = True
        self._watchers: dict[Call, bool] = {}  # whether the service that it asked for is one of ours
        self.handlers: Mapping[str, Handler] = {f"{_SERVICE}Check": self._check, f"{_SERVICE}Watch": self._watch}
        """Method → what takes its calls."""

    def stop(self) -> None:
        """Says NOT_SERVING from now on, and ends the calls that watch with it."""
        with self._lock:
            self._serving = False
            watchers, self._watchers = self._watchers, {}
        for call, known in watchers.items():
            if known:
                call.send(_STATUS(status=_STATUS.NOT_SERVING).SerializeToString())
            call.fail(grpc.StatusCode.UNAVAILABLE, "The server stops")

    def _check(self, call: Call) -> None:
        service = _service(call)
        if service is None:
            return
        if service in self._services:
            call.reply(_STATUS(status=self._status()).SerializeToString())
        else:
            call.fail(grpc.StatusCode.NOT_FOUND, f"unknown service: {service}")

    def _watch(self, call: Call) -> None:
        service = _service(call)
        if service is None:
            return
        call.when_cancelled(lambda: self._watchers.pop(call, None))
        known = service in self._services  # where not, the protocol has the caller wait until there is such a service
        with self._lock:
            status = self._status() if known else _STATUS.SERVICE_UNKNOWN
            call.send(_STATUS(status=status).SerializeToString())
            if self._serving:
                self._watchers[call] = known
            else:
                call.fail(grpc.StatusCode.UNAVAILABLE, "The server stops")

    def _status(self) -> int:
        status: int = _STATUS.SERVING if self._serving else _STATUS.NOT_SERVING
        return status


def _service(call: Call) -> str | None:
    """The service that the caller asks for; None when it was told that its message is none."""
    try:
        service: str = health_pb2.HealthCheckRequest.FromString(call.request).service
    except DecodeError as error:
        call.fail(grpc.StatusCode.INTERNAL, f"The message is no HealthCheckRequest: {error}")
        return None
    return service
