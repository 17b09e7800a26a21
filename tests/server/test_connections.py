"""Connections to a real front: how they end, who finds a front that was added, and how often a client may ping."""

import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.servers.name_server import NameServer

from tastemaker.v1 import recommendation_service_pb2, recommendation_service_pb2_grpc

_CALLS_AT_MOST = 200_000
_REQUEST = recommendation_service_pb2.RecommendRequest(user_id="u1", surface="home")


def _client_ports(front: Any) -> set[int]:
    """The other ends of the connections that a front has."""
    port = int(front.address.rpartition(":")[2])
    connections = psutil.Process(front.process.pid).net_connections(kind="tcp")
    return {it.raddr.port for it in connections if it.raddr and it.laddr.port == port}


def test_a_client_is_sent_to_a_new_connection_now_and_then_and_no_call_fails(
    start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    front = start_front(server="max_connection_age_seconds = 0.2")
    wire = connect(front.address)  # plain stubs: nothing is retried
    seen: set[int] = set()
    is_over = threading.Event()

    def call_on() -> int:
        count = 0
        while not is_over.is_set() and count < _CALLS_AT_MOST:
            wire.recommend("u1", timeout=20)
            count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(call_on) for _ in range(4)]
        while len(seen) < 5 and not any(caller.done() for caller in callers):
            seen |= _client_ports(front)
        is_over.set()

    assert sum(caller.result() for caller in callers) > 0
    assert len(seen) >= 5


def test_a_call_that_outlives_its_connection_has_the_grace_to_finish(
    start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    front = start_front(server="max_connection_age_seconds = 0.2\nmax_connection_age_grace_seconds = 0.5")
    watch = health_pb2_grpc.HealthStub(connect(front.address).channel).Watch(health_pb2.HealthCheckRequest(), timeout=5)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as cut:
        next(watch)
    assert cut.value.code() == grpc.StatusCode.UNAVAILABLE  # not DEADLINE_EXCEEDED: the front has ended it


def test_a_client_finds_a_front_that_was_added(
    start_front: Callable[..., Any], name_server: NameServer, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(host: str) -> Any:
        monkeypatch.setenv("TASTEMAKER_FRONT_SERVER__ADDRESS", f"{host}:{free_port}")
        monkeypatch.setenv("TASTEMAKER_FRONT_SERVER__DATA_DIR", str(first_dir / host))
        front = start_front(server="max_connection_age_seconds = 0.5")
        name_server.hosts.append(host)
        return front

    first_dir = start_front().data_dir
    start("127.0.0.1")
    options = [
        ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
        ("grpc.dns_min_time_between_resolutions_ms", 100),  # 30 s by default
    ]
    target = f"dns://{name_server.address}/front.test:{free_port}"
    with grpc.insecure_channel(target, options) as channel:
        recommend = recommendation_service_pb2_grpc.RecommendationServiceStub(channel).Recommend
        recommend(_REQUEST, timeout=20)
        added = start("127.0.0.2")
        for _ in range(_CALLS_AT_MOST):
            recommend(_REQUEST, timeout=20)
            if _client_ports(added):
                break

        assert _client_ports(added)


def _is_sent_away(address: str, *, pings: int, seconds_between: float) -> bool:
    """Whether a connection without calls is ended (GOAWAY) when it pings so often."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=seconds_between) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS))
        for _ in range(pings):
            connection.sendall(_frame(_PING, b"is there"))
            try:
                with connection.makefile("rb") as stream:  # reads on until the time for the next ping has come
                    while _read_frame(stream) != _GOAWAY:
                        pass
            except TimeoutError:
                continue
            return True
    return False


_SETTINGS, _PING, _GOAWAY = 4, 6, 7


def _frame(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, 0]) + bytes(4) + payload


def _read_frame(stream: Any) -> int:
    head = stream.read(9)
    stream.read(int.from_bytes(head[:3]))
    kind: int = head[3]
    return kind


def test_a_flood_of_pings_ends_the_connection(start_front: Callable[..., Any]) -> None:
    assert _is_sent_away(start_front().address, pings=20, seconds_between=0.1)


@pytest.mark.slow
def test_an_idle_client_may_ping_as_often_as_any_grpc_library_does(start_front: Callable[..., Any]) -> None:
    # The first is free and two may come too early: the fourth would be the last.
    assert not _is_sent_away(start_front().address, pings=4, seconds_between=5.5)


def test_every_connection_is_answered_and_drained_whichever_server_has_it(start_front: Callable[..., Any]) -> None:
    front = start_front()
    own = [("grpc.use_local_subchannel_pool", 1)]  # else channels to one address share a connection
    with ExitStack() as stack:
        channels = [stack.enter_context(grpc.insecure_channel(front.address, own)) for _ in range(24)]
        stubs = [recommendation_service_pb2_grpc.RecommendationServiceStub(channel) for channel in channels]
        for stub in stubs:
            assert stub.Recommend(_REQUEST, timeout=20).tier_reports
        assert len(_client_ports(front)) == len(channels)
        assert front.terminate() == 0
        for stub in stubs:
            with pytest.raises(grpc.RpcError) as gone:
                stub.Recommend(_REQUEST, timeout=20)
            assert gone.value.code() is grpc.StatusCode.UNAVAILABLE
