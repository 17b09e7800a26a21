"""How the front spreads its calls over model servers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from prometheus_client import CollectorRegistry

from tastemaker_server.metrics.models import ModelMetrics
from tastemaker_server.model_client import ModelClient, ServedModel


class _ModelService(grpc.GenericRpcHandler):
    """Counts the calls that it gets; answers every one."""

    def __init__(self) -> None:
        self.calls = 0

    def service(self, handler_call_details):
        def answer(request, context):
            self.calls += 1
            return b""  # all that is looked at is that there is an answer

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def two_servers() -> Iterator[tuple[list[_ModelService], str]]:
    """Two model servers, and an address that resolves to both."""
    services, servers, ports = [], [], []
    for _ in range(2):
        service = _ModelService()
        server = grpc.server(ThreadPoolExecutor(1), handlers=[service])
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        server.start()
        services.append(service)
        servers.append(server)
    yield services, "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    for server in servers:
        server.stop(None).wait()


async def test_calls_go_to_all_model_servers_behind_a_name(two_servers) -> None:
    services, address = two_servers
    client = ModelClient(address, metrics=ModelMetrics(registry=CollectorRegistry(), models=["rnn"]))
    try:
        calls = 0
        while not all(service.calls for service in services):  # the second connection may come a moment later
            calls += 1
            assert calls < 1000, f"one server gets all calls: {[service.calls for service in services]}"
            await client.check(ServedModel("rnn"), 5)
    finally:
        await client.close()
