"""How the components of a server are, and waiting until they serve.

Waiting asks again and again instead of using the health service's Watch: the server may not be there yet, and grpcio's
asyncio health service tells only the newest of several watchers of one component.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import grpc

from tastemaker_client.client import Client
from tastemaker_client.errors import TastemakerError
from tastemaker_client.health import HealthStatus

__all__ = ["COMPONENTS", "component_statuses", "wait_until_serving"]

COMPONENTS = (
    "",
    "tastemaker.v1.RecommendationService",
    "tastemaker.v1.FeedbackService",
    "event_log",
    "online_store",
)
"""What every front has; "" is the front as a whole. The models have components beside these, "model/<name>"."""

_PAUSE_SECONDS = 0.1


def component_statuses(
    client: Client, components: Sequence[str], *, timeout_seconds: float
) -> Mapping[str, HealthStatus]:
    """Asks for the status of each component.

    Args:
        client: a client of the server.
        components: their names.
        timeout_seconds: the deadline of each call.

    Returns:
        The statuses in the order of `components`; SERVICE_UNKNOWN for one that the server does not have.

    Raises:
        TastemakerError: the server cannot be asked.
    """
    statuses = {}
    for component in components:
        try:
            statuses[component] = client.health(component, timeout_seconds=timeout_seconds)
        except TastemakerError as error:
            if error.code is not grpc.StatusCode.NOT_FOUND:
                raise
            statuses[component] = HealthStatus.SERVICE_UNKNOWN
    return statuses


def wait_until_serving(
    client: Client,
    components: Sequence[str],
    *,
    wait_seconds: float,
    timeout_seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Mapping[str, HealthStatus]:
    """Asks until every component is SERVING or the time is over.

    Args:
        client: a client of the server, which may not be there yet.
        components: their names.
        wait_seconds: for how long to ask.
        timeout_seconds: the deadline of each call.
        clock: seconds that never go back.
        sleep: waits for so many seconds.

    Returns:
        The last statuses.

    Raises:
        TastemakerError: the server could not be asked even at the end.
    """
    end = clock() + wait_seconds
    while True:
        is_over = clock() >= end
        try:
            statuses = component_statuses(client, components, timeout_seconds=timeout_seconds)
        except TastemakerError:
            if is_over:
                raise
        else:
            if is_over or all(status is HealthStatus.SERVING for status in statuses.values()):
                return statuses
        sleep(_PAUSE_SECONDS)
