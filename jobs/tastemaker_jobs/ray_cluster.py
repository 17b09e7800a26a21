"""A Ray to work on: one started on this machine for as long as it is needed, or a cluster that runs already."""

import contextlib
import logging
import os
import socket
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import ray

from tastemaker_jobs.errors import RayStartError
from tastemaker_jobs.head_watch import watched

__all__ = ["all_cores", "connected", "cores_of_a_node", "nodes"]

_KNOCK_SECONDS = 5.0
_STARTS = 3


@contextlib.contextmanager
def connected(address: str | None, *, spare_cores: int = 0) -> Iterator[None]:
    """While the block runs, this process is a driver of a Ray cluster; it ends if the cluster's head does.

    Args:
        address: Of a running cluster; None starts one on this machine and ends it afterwards.
        spare_cores: So many more than there are, if one is started: for short tasks beside those that compute.

    Raises:
        RayStartError: Ray did not start, or there is no cluster at that address.
    """
    try:
        if address is None:
            _start((os.cpu_count() or 1) + spare_cores)
        else:
            _knock(address)
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises Exception itself where its node did not start in time
        where = f"the Ray cluster at {address} cannot be reached" if address else "Ray cannot be started"
        raise RayStartError(f"{where}: {error}. --no-ray trains without it.") from error
    try:
        with watched(ray.get_runtime_context().gcs_address, clean_up=_end_own_node):
            yield
    finally:
        ray.shutdown()


def all_cores() -> int:
    """Of all nodes together. 1 or more."""
    return max(1, sum(int(node.get("CPU", 0)) for node in nodes()))


def cores_of_a_node() -> int:
    """Of the smallest node that computes, so that a task of that many fits on any of them. 1 or more."""
    cores = [int(node.get("CPU", 0)) for node in nodes()]
    return min((count for count in cores if count), default=1)


def nodes() -> list[Mapping[str, float]]:
    """What each node that is alive has: CPU, GPU and so on."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _start(cores: int) -> None:
    for starts_left in reversed(range(_STARTS)):
        try:
            ray.init("local", num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            # A busy machine may take more than the thirty seconds that Ray gives its node; what it read from disk then
            # makes the next start faster.
            _end_half_started(error)
            ray.shutdown()
            if not starts_left:
                raise
        else:
            return


def _end_half_started(error: Exception) -> None:
    """End the processes of a node that did not start in time.

    Ray itself forgets the node, so that `ray.shutdown` does nothing, and its processes would run until this one's end:
    a second node then starts more slowly still. The node is where the error came from.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        node: Any = frame.f_locals.get("self")
        if hasattr(node, "kill_all_processes"):
            node.kill_all_processes(check_alive=False, wait=True)


def _end_own_node() -> None:
    """End what this process started of a Ray whose head is gone; Ray's own way asks the head first."""
    node: Any = ray._private.worker._global_node  # nothing public has it
    if node is not None:
        node.kill_all_processes(check_alive=False, allow_graceful=False)


def _knock(address: str) -> None:
    """Fail at once where nobody listens; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():  # "auto" and the like have none
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()
