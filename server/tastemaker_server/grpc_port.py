"""The front's gRPC port, and the servers that take calls from it.

A `grpc.aio` server asks for one new call at a time, and each asking costs a turn of the event loop. Several on one
port, in one event loop, bring several calls in with each turn. The kernel deals the connections out between them.
"""

import asyncio
import errno
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

import grpc

__all__ = ["GrpcPort"]

_SERVERS = 8


class GrpcPort:
    """`add_services`, `open`, `start`, and `stop` at the end."""

    def __init__(
        self, *, interceptors: Sequence[Any], options: Sequence[tuple[str, int]], shared_with_others: bool
    ) -> None:
        """Makes the servers; nothing is open yet.

        Args:
            interceptors: Of every server.
            options: Of every server; "grpc.so_reuseport" is set here.
            shared_with_others: Whether other processes may listen on the port too.
        """
        # Elsewhere than on Linux, sockets that share a port do not share its connections evenly, or not at all.
        count = _SERVERS if sys.platform.startswith("linux") else 1
        reuse_port = ("grpc.so_reuseport", int(count > 1 or shared_with_others))
        self._shared_with_others = shared_with_others
        self._servers = [
            grpc.aio.server(interceptors=interceptors, options=[reuse_port, *options]) for _ in range(count)
        ]

    def add_services(self, add_to: Callable[[Any], None]) -> None:
        """Calls `add_to` with each server, for it to register its services there."""
        for server in self._servers:
            add_to(server)

    def open(self, address: str) -> int:
        """Binds every server to the address. Returns the port.

        Args:
            address: host:port; port 0 takes a free one.

        Raises:
            OSError: The port is taken, or the host is not this machine's.
        """
        host, _, port = address.rpartition(":")
        if not self._shared_with_others:
            _check_free(host.strip("[]"), int(port))
        try:
            bound = 0
            for server in self._servers:
                bound = server.add_insecure_port(f"{host}:{bound or port}")
        except RuntimeError as error:
            raise OSError(errno.EADDRNOTAVAIL, str(error)) from error
        return bound

    async def start(self) -> None:
        """Takes calls from now on."""
        for server in self._servers:
            await server.start()

    async def stop(self, grace_seconds: float) -> None:
        """Takes no more calls, and gives those in flight `grace_seconds` to finish."""
        await asyncio.gather(*(server.stop(grace_seconds) for server in self._servers))


def _check_free(host: str, port: int) -> None:
    """Sees that nobody listens there: servers that share a port would share it with another process as well.

    Raises:
        OSError: Somebody does.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror:
        return  # gRPC says what it makes of the name
    for family, kind, protocol, _, place in found:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that ended a moment ago are none
            try:
                probe.bind(place)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise
