"""How the front treats connections: how old one may get, and how often a client may ask whether it is alive."""

from tastemaker_server.settings import ServerSettings

__all__ = ["connection_options"]

# gRPC's libraries let a client ping every 10 s at the soonest (Java, Go) and take more than two early pings for an
# attack (GOAWAY too_many_pings). Half of that leaves room for pings that the network holds up.
_SHORTEST_PING_INTERVAL_MILLISECONDS = 5_000


def connection_options(settings: ServerSettings) -> list[tuple[str, int]]:
    """The gRPC server arguments for connections.

    A client looks a name up again when a connection ends, so a front that was added is found by clients whose
    connections are ended now and then. gRPC ends them gracefully (the client opens another for its next call, the calls
    in flight finish) and spreads the ends by a tenth of the age, so that clients do not all come back at once.
    """
    return [
        ("grpc.max_connection_age_ms", round(settings.max_connection_age_seconds * 1000)),
        ("grpc.max_connection_age_grace_ms", round(settings.max_connection_age_grace_seconds * 1000)),
        # Idle connections too: what lies between may have dropped one, and the next call would wait on it in vain.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _SHORTEST_PING_INTERVAL_MILLISECONDS),
    ]
