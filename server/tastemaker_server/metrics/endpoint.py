"""The HTTP port where Prometheus reads what a registry has: the official client's own server, on its own thread."""

import asyncio
import logging
import threading
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, disable_created_metrics, start_http_server

from tastemaker_server.errors import SettingsError

__all__ = ["MetricsEndpoint"]

_log = logging.getLogger(__name__)


class MetricsEndpoint:
    """`start`, and `stop` at the end; without an address both do nothing."""

    def __init__(self, *, address: str, registry: CollectorRegistry) -> None:
        """Takes what is served, and where.

        Args:
            address: host:port; port 0 takes a free one. Empty: nowhere.
            registry: What is served, at every path.
        """
        self._address = address
        self._registry = registry
        self._running: tuple[WSGIServer, threading.Thread] | None = None

    def start(self) -> None:
        """Listens.

        Raises:
            SettingsError: The address cannot be listened on.
        """
        if not self._address:
            return
        host, _, port = self._address.rpartition(":")
        # Else a third more lines, which say when counting began; the start of the process says so once.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        try:
            self._running = start_http_server(int(port), host.strip("[]"), self._registry)
        except (OSError, OverflowError) as error:
            problem = "the port is taken or the host is not this machine's; stop the other process or choose another"
            raise SettingsError([f"metrics.address: cannot listen on {self._address}: {problem}"]) from error
        _log.info("metrics are at http://%s:%d/metrics", host, self._running[0].server_port)

    async def stop(self) -> None:
        """Closes the port."""
        if self._running is not None:
            server, thread = self._running
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            await asyncio.to_thread(thread.join)
            self._running = None
