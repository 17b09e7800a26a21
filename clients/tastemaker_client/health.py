"""The standard health check, grpc.health.v1, without its package.

`grpcio-health-checking` is the server's dependency; a caller needs two messages with one field each. The well-known
wrapper messages have exactly their wire form (`string` = 1 for the request, a varint = 1 for the answer); a test holds
that.
"""

import enum

from google.protobuf.wrappers_pb2 import Int32Value, StringValue

__all__ = ["CHECK_PATH", "HealthCheckRequest", "HealthCheckResponse", "HealthStatus", "health_status"]

CHECK_PATH = "/grpc.health.v1.Health/Check"
HealthCheckRequest = StringValue
HealthCheckResponse = Int32Value


class HealthStatus(enum.IntEnum):
    """How a component is; the numbers are grpc.health.v1's."""

    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3
    """The server has no component of that name."""


def health_status(response: HealthCheckResponse) -> HealthStatus:
    """Reads an answer; a status that this client does not know is UNKNOWN."""
    try:
        return HealthStatus(response.value)
    except ValueError:
        return HealthStatus.UNKNOWN
