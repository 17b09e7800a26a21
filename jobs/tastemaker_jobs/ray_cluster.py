"""A Ray to work on: one started on this machine for as long as it is needed, or a cluster that runs already."""

import contextlib
import logging
import socket
from collections.abc import Iterator

import ray
from ray.exceptions import RayError as UpstreamError

from tastemaker_jobs.errors import RayStartError

__all__ = ["connected", "cores_of_a_node"]

_KNOCK_SECONDS = 5.0


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """While the block runs, this process is a driver of a Ray cluster.

    Args:
        address: Of a running cluster; None starts one on this machine and ends it afterwards.

    Raises:
        RayStartError: Ray did not start, or there is no cluster at that address.
    """
    try:
        if address is None:
            ray.init("local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        else:
            _knock(address)
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (UpstreamError, OSError, RuntimeError, ValueError) as error:
        where = f"the Ray cluster at {address} cannot be reached" if address else "Ray cannot be started"
        raise RayStartError(f"{where}: {error}. --no-ray trains without it.") from error
    try:
        yield
    finally:
        ray.shutdown()


def cores_of_a_node() -> int:
    """Of the smallest node that computes, so that a task of that many fits on any of them. 1 or more."""
    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    return min((count for count in cores if count), default=1)


def _knock(address: str) -> None:
    """Fail at once where nobody listens; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():  # "auto" and the like have none
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()
