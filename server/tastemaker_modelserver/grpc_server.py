"""The gRPC port: addresses, TLS, channel arguments, health."""

import logging
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tastemaker_modelserver.errors import UnavailableError
from tastemaker_modelserver.flags import Flags
from tastemaker_modelserver.tls import server_credentials

__all__ = ["GrpcServer"]

_log = logging.getLogger(__name__)

_HEALTH_NAMES = ("", "ModelService", "PredictionService")
_UNLIMITED = 2**31 - 1


class GrpcServer:
    """A `grpc.aio` server set up by the flags. Services are added to `server` before `start`."""

    def __init__(self, flags: Flags) -> None:
        """Makes the server; no port is open yet.

        Raises:
            InvalidArgumentError: `--ssl_config_file` does not parse.
        """
        self.server = grpc.aio.server(options=_channel_options(flags.grpc_channel_arguments))
        self._addresses = [f"0.0.0.0:{flags.port}"] if flags.port else []
        if flags.grpc_socket_path:
            self._addresses.append(f"unix:{flags.grpc_socket_path}")
        self._credentials = server_credentials(Path(flags.ssl_config_file)) if flags.ssl_config_file else None
        self._health: Any = health.aio.HealthServicer() if flags.enable_grpc_healthcheck_service else None
        if self._health is not None:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)

    async def start(self) -> None:
        """Opens the ports and says SERVING.

        Raises:
            UnavailableError: A port or a socket cannot be opened.
        """
        for address in self._addresses:
            self._open(address)
        if self._health is not None:
            for name in _HEALTH_NAMES:
                await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await self.server.start()
        for address in self._addresses:
            _log.info("Running gRPC ModelServer at %s ...", address)

    async def stop(self, grace_s: float) -> None:
        """Says NOT_SERVING, takes no more calls and gives those in flight `grace_s` seconds."""
        if self._health is not None:
            await self._health.enter_graceful_shutdown()
        await self.server.stop(grace_s)

    def _open(self, address: str) -> None:
        try:
            if self._credentials is None:
                bound = self.server.add_insecure_port(address)
            else:
                bound = self.server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise UnavailableError(f"Cannot listen on {address}: {error}") from error
        if not bound:
            raise UnavailableError(f"Cannot listen on {address}: it is taken")


def _channel_options(arguments: str) -> list[tuple[str, int | str]]:
    options: dict[str, int | str] = {
        "grpc.max_receive_message_length": _UNLIMITED,
        "grpc.max_send_message_length": _UNLIMITED,
        # gRPC would share the port with another process that asks for the same, and each would get half of the calls.
        "grpc.so_reuseport": 0,
    }
    for pair in filter(None, arguments.split(",")):
        key, _, value = pair.partition("=")
        options[key] = int(value) if value.removeprefix("-").isdigit() else value
    return list(options.items())
