"""Watches the head of a Ray cluster: a driver whose head is gone says so and ends.

Ray itself tries for a minute to reach a head that is gone, and then ends the process where it stands, with a line that
does not say what to do. What the driver waits for in Ray cannot be relied on to return, so that the watch ends the
process too, before Ray does.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

from tastemaker_jobs.process_log import tell_error

__all__ = ["watched"]

_LOST = (
    "the head of the Ray cluster is gone. Submit it again: with the same --run-id, or the same --out, it goes on where"
    " it was; nothing half-trained was published."
)
_POLL_SECONDS = 1.0
_CONNECT_SECONDS = 5.0
_PATIENCE_SECONDS = 30.0  # a head that is back by then is not missed


@contextlib.contextmanager
def watched(address: str, *, clean_up: Callable[[], None]) -> Iterator[None]:
    """While the block runs, the process ends with status 1 once nobody has listened at an address for half a minute.

    Args:
        address: host:port of the head.
        clean_up: Called before: ends what of the cluster this process has started.
    """
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(address, clean_up, ended), name="head-watch", daemon=True)
    watch.start()
    try:
        yield
    finally:
        ended.set()


def _watch(address: str, clean_up: Callable[[], None], ended: threading.Event) -> None:
    host, _, port = address.rpartition(":")
    last_seen = time.monotonic()
    while not ended.wait(_POLL_SECONDS):
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
            last_seen = time.monotonic()
        except OSError:
            if time.monotonic() - last_seen > _PATIENCE_SECONDS and not ended.is_set():
                tell_error(_LOST)
                clean_up()
                os._exit(1)
