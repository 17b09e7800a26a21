"""The gRPC port: addresses, TLS, channel arguments, health."""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tastemaker_modelserver.errors import UnavailableError
from tastemaker_modelserver.flags import Flags
from tastemaker_modelserver.ports import check_ports
from tastemaker_modelserver.tls import server_credentials

__all__ = ["GrpcServer"]

_log = logging.getLogger(__name__)

_HEALTH_NAMES = ("", "ModelService", "PredictionService")
_UNLIMITED = 2**31 - 1
_SHARES = 8
"""Servers that share the port. A `grpc.aio` server asks for one new call at a time, and each costs it a round through
the event loop; with eight, one round brings several calls: a third more throughput, for less CPU time per call."""


class GrpcServer:
    """`grpc.aio` servers on one port, set up by the flags. Services are added to each of `servers` before `start`."""

    def __init__(self, flags: Flags) -> None:
        """Makes the server; no port is open yet.

        Raises:
            InvalidArgumentError: `--ssl_config_file` does not parse.
        """
        options = _channel_options(flags.grpc_channel_arguments)
        shares = _SHARES if options["grpc.so_reuseport"] and flags.port else 1
        self.servers = [grpc.aio.server(options=list(options.items())) for _ in range(shares)]
        self._flags = flags
        self._credentials = server_credentials(Path(flags.ssl_config_file)) if flags.ssl_config_file else None
        self._health: Any = health.aio.HealthServicer() if flags.enable_grpc_healthcheck_service else None
        if self._health is not None:
            for server in self.servers:
                health_pb2_grpc.add_HealthServicer_to_server(self._health, server)

    async def start(self) -> None:
        """Opens the ports and says SERVING.

        Raises:
            UnavailableError: A port or a socket cannot be opened.
        """
        addresses: list[str] = []
        if self._flags.port:
            check_ports(self._flags)  # gRPC itself would share the port with any other process that lets it
            addresses.append(f"0.0.0.0:{self._flags.port}")
            for server in self.servers:
                self._open(server, addresses[0])
        if self._flags.grpc_socket_path:
            addresses.append(f"unix:{self._flags.grpc_socket_path}")
            self._open(self.servers[0], addresses[-1])
        if self._health is not None:
            for name in _HEALTH_NAMES:
                await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        for server in self.servers:
            await server.start()
        for address in addresses:
            _log.info("Running gRPC ModelServer at %s ...", address)

    async def stop(self, grace_s: float) -> None:
        """Says NOT_SERVING, takes no more calls and gives those in flight `grace_s` seconds."""
        if self._health is not None:
            await self._health.enter_graceful_shutdown()
        await asyncio.gather(*(server.stop(grace_s) for server in self.servers))

    def _open(self, server: Any, address: str) -> None:
        try:
            if self._credentials is None:
                bound = server.add_insecure_port(address)
            else:
                bound = server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise UnavailableError(f"Cannot listen on {address}: {error}") from error
        if not bound:
            raise UnavailableError(f"Cannot listen on {address}: it is taken")


def _channel_options(arguments: str) -> dict[str, int | str]:
    options: dict[str, int | str] = {
        "grpc.max_receive_message_length": _UNLIMITED,
        "grpc.max_send_message_length": _UNLIMITED,
        "grpc.so_reuseport": int(sys.platform.startswith("linux")),
    }
    for pair in filter(None, arguments.split(",")):
        key, _, value = pair.partition("=")
        options[key] = int(value) if value.removeprefix("-").isdigit() else value
    return options
