"""A Ray to work on: one started on this machine for as long as it is needed, or a cluster that runs already."""

import contextlib
import logging
import os
import socket
import traceback
from collections.abc import Iterator
from typing import Any

import ray

from tastemaker_jobs.errors import ClusterTooSmallError, RayStartError

__all__ = ["all_cores", "check_fits", "connected", "cores_of_a_node", "room_for"]

_KNOCK_SECONDS = 5.0
_STARTS = 3


@contextlib.contextmanager
def connected(address: str | None, *, spare_cores: int = 0) -> Iterator[None]:
    """While the block runs, this process is a driver of a Ray cluster.

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
        yield
    finally:
        ray.shutdown()


def all_cores() -> int:
    """Of all nodes together. 1 or more."""
    return max(1, sum(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]))


def cores_of_a_node() -> int:
    """Of the smallest node that computes, so that a task of that many fits on any of them. 1 or more."""
    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    return min((count for count in cores if count), default=1)


def room_for(workers: int, *, cores: int, gpus: int) -> int:
    """For how many groups of workers, each with a core to read its data, the cluster has room. 1 or more.

    Args:
        workers: How many in a group.
        cores: Of each.
        gpus: Of each.

    Raises:
        ClusterTooSmallError: There is not even room for one.
    """
    check_fits(workers, cores=cores, gpus=gpus)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    all_cores, all_gpus = (int(sum(node.get(kind, 0) for node in nodes)) for kind in ("CPU", "GPU"))
    by_cores = all_cores // (workers * cores + 1)
    return max(1, min(by_cores, all_gpus // (workers * gpus)) if gpus else by_cores)


def check_fits(workers: int, *, cores: int, gpus: int) -> None:
    """See that the cluster has room for all workers, and a core to read their data: else Ray would wait for ever.

    Args:
        workers: How many.
        cores: Of each.
        gpus: Of each.

    Raises:
        ClusterTooSmallError: It has not.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(
        min(int(node.get("CPU", 0)) // cores, int(node.get("GPU", 0)) // gpus if gpus else workers) for node in nodes
    )
    all_cores, all_gpus = (int(sum(node.get(kind, 0) for node in nodes)) for kind in ("CPU", "GPU"))
    if room < workers or all_cores < workers * cores + 1:
        of_each = f"{cores} cores" if cores > 1 else "one core"
        asked = f"{workers} workers of {of_each}{' and a GPU' if gpus else ''} each, and one core to read their data"
        raise ClusterTooSmallError(
            f"asked for {asked}; the cluster has {all_cores} cores and {all_gpus} GPUs on {len(nodes)} nodes. Ask for"
            " fewer --workers, or add nodes."
        )


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


def _knock(address: str) -> None:
    """Fail at once where nobody listens; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():  # "auto" and the like have none
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()
