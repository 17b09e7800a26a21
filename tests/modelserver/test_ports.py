"""The gRPC port and the Unix socket: both serve, tell their health, and heed `--grpc_channel_arguments`."""

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

pytestmark = pytest.mark.slow


def predict(channel: grpc.Channel, request: Any) -> list[float]:
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=20)
    return list(response.outputs["y"].float_val)


def test_port_and_socket_serve_and_tell_their_health(edges: Any, ask: Any) -> None:
    with grpc.insecure_channel(edges.socket) as socket:
        for channel in (edges.server.channel, socket):
            assert predict(channel, ask.predict("affine", x=[[2.0]])) == [21.0]
            stub = health_pb2_grpc.HealthStub(channel)
            for name in ("", "ModelService", "PredictionService"):
                answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
        unknown = health_pb2.HealthCheckRequest(service="other")
        assert ask.failure(lambda: stub.Check(unknown, timeout=10))[0] is grpc.StatusCode.NOT_FOUND


def test_channel_arguments_reach_grpc(edges: Any, ask: Any) -> None:
    code, details = ask.failure(lambda: predict(edges.server.channel, ask.predict("affine", x=[[2.0]] * 10_000)))
    assert (code, str(edges.largest_bytes) in details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
