"""Health: the wire form of its messages, and waiting until a server serves."""

from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from tastemaker_client import Client, HealthStatus, TastemakerError, UnavailableError, health
from tastemaker_client.readiness import component_statuses, wait_until_serving


class Clock:
    """Time that passes only while someone sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def wait(peer: Any, *components: str, seconds: float = 1.0) -> tuple[Any, Clock]:
    clock = Clock()
    with Client(peer.address) as client:
        statuses = wait_until_serving(
            client, components, wait_seconds=seconds, timeout_seconds=20, clock=clock, sleep=clock.sleep
        )
    return statuses, clock


@pytest.mark.parametrize("component", ["", "model/rnn", "größer", "x" * 300])
def test_our_health_request_is_the_standard_one_on_the_wire(component: str) -> None:
    ours = health.HealthCheckRequest(value=component).SerializeToString()

    assert ours == HealthCheckRequest(service=component).SerializeToString()


@pytest.mark.parametrize("name", HealthCheckResponse.ServingStatus.keys())
def test_our_health_response_is_the_standard_one_on_the_wire(name: str) -> None:
    wire = HealthCheckResponse(status=HealthCheckResponse.ServingStatus.Value(name)).SerializeToString()

    assert health.health_status(health.HealthCheckResponse.FromString(wire)).name == name


def test_a_status_of_a_newer_server_is_unknown() -> None:
    assert health.health_status(health.HealthCheckResponse(value=99)) is HealthStatus.UNKNOWN


def test_a_component_that_the_server_lacks_is_service_unknown(peer: Any, refusal: Any) -> None:
    peer.answers.append(refusal(grpc.StatusCode.NOT_FOUND))

    with Client(peer.address) as client:
        statuses = component_statuses(client, ["model/rnn", ""], timeout_seconds=20)

    assert list(statuses.items()) == [("model/rnn", HealthStatus.SERVICE_UNKNOWN), ("", HealthStatus.SERVING)]


def test_another_refusal_is_raised(peer: Any, refusal: Any) -> None:
    peer.answers.append(refusal(grpc.StatusCode.UNIMPLEMENTED))

    with Client(peer.address) as client, pytest.raises(TastemakerError, match="UNIMPLEMENTED"):
        component_statuses(client, [""], timeout_seconds=20)


def test_waiting_ends_as_soon_as_every_component_serves(peer: Any, refusal: Any) -> None:
    not_serving = HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING)
    serving = HealthCheckResponse(status=HealthCheckResponse.SERVING)
    peer.answers += [
        refusal(grpc.StatusCode.UNAVAILABLE),
        *(not_serving, serving),
        *(serving, refusal(grpc.StatusCode.NOT_FOUND)),
        *(serving, serving),
    ]

    statuses, clock = wait(peer, "", "model/rnn")

    assert statuses == {"": HealthStatus.SERVING, "model/rnn": HealthStatus.SERVING}
    assert clock.now == pytest.approx(0.3)
    assert not peer.answers


def test_waiting_ends_with_the_last_statuses(peer: Any) -> None:
    peer.answers += [HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING)] * 100

    statuses, clock = wait(peer, "")

    assert statuses == {"": HealthStatus.NOT_SERVING}
    assert clock.now == pytest.approx(1, abs=0.11)


def test_waiting_for_a_server_that_never_comes_raises(peer: Any, refusal: Any) -> None:
    peer.answers += [refusal(grpc.StatusCode.UNAVAILABLE)] * 100

    with pytest.raises(UnavailableError):
        wait(peer, "")
