"""The gRPC port: addresses, TLS, channel arguments, health."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from tastemaker_modelserver.call_server import CallServer, Handler
from tastemaker_modelserver.flags import Flags
from tastemaker_modelserver.health import Health
from tastemaker_modelserver.tls import server_credentials

__all__ = ["GrpcServer"]

_log = logging.getLogger(__name__)

_HEALTH_NAMES = ("", "ModelService", "PredictionService")
_UNLIMITED = 2**31 - 1


class GrpcServer:
    """The server of the gRPC port and of the Unix socket, set up by the flags."""

    def __init__(self, flags: Flags, handlers: Mapping[str, Handler], *, when_idle: Callable[[], None]) -> None:
        """Makes the server; no port is open yet.

        Args:
            flags: The command line.
            handlers: Method → what takes its calls.
            when_idle: See `CallServer`.

        Raises:
            InvalidArgumentError: `--ssl_config_file` does not parse.
        """
        self._flags = flags
        self._credentials = server_credentials(Path(flags.ssl_config_file)) if flags.ssl_config_file else None
        self._health = Health(_HEALTH_NAMES)
        self._server = CallServer(
            {**handlers, **(self._health.handlers if flags.enable_grpc_healthcheck_service else {})},
            options=_channel_options(flags.grpc_channel_arguments),
            when_idle=when_idle,
        )

    def start(self) -> None:
        """Opens the ports and says SERVING.

        Raises:
            UnavailableError: A port or a socket cannot be opened.
        """
        addresses: list[str] = []
        if self._flags.port:
            addresses.append(f"0.0.0.0:{self._flags.port}")
        if self._flags.grpc_socket_path:
            addresses.append(f"unix:{self._flags.grpc_socket_path}")
        for address in addresses:
            self._server.open(address, self._credentials)
        self._server.start()
        for address in addresses:
            _log.info("Running gRPC ModelServer at %s ...", address)

    def stop(self, grace_s: float) -> None:
        """Says NOT_SERVING, takes no more calls, gives those in flight `grace_s` seconds, and waits for their end."""
        self._health.stop()
        self._server.stop(grace_s)


def _channel_options(arguments: str) -> dict[str, int | str]:
    options: dict[str, int | str] = {
        "grpc.max_receive_message_length": _UNLIMITED,
        "grpc.max_send_message_length": _UNLIMITED,
        "grpc.so_reuseport": 0,  # else two servers could share a port, and callers get now one, now the other
    }
    for pair in filter(None, arguments.split(",")):
        key, _, value = pair.partition("=")
        options[key] = int(value) if value.removeprefix("-").isdigit() else value
    return options
