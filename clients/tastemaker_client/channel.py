"""The options of a channel to Tastemaker: what is retried, how a dead connection is noticed, how soon to reconnect."""

import importlib.resources
from collections.abc import Mapping

__all__ = ["channel_options"]

ChannelOptions = list[tuple[str, str | int]]


def channel_options(overrides: Mapping[str, str | int]) -> ChannelOptions:
    """The options to open a channel with.

    Args:
        overrides: gRPC channel arguments that replace or extend the ones made here.

    Returns:
        gRPC channel arguments as `grpc.insecure_channel` takes them.
    """
    options: dict[str, str | int] = {
        # UNAVAILABLE alone is retried: it is the one status after which the same call may succeed a moment later. The
        # policy lies beside the protos, so that clients in every language share it.
        "grpc.service_config": _service_config(),
        # A peer whose machine has died sends nothing, not even a reset, and what lies between forgets idle connections.
        # Pings go out between calls too (0: any number of them), so that the next call, which has half a second, does
        # not find out. The front allows one every five seconds. The timeout also becomes TCP_USER_TIMEOUT.
        "grpc.keepalive_time_ms": 30_000,
        "grpc.keepalive_timeout_ms": 5_000,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.max_pings_without_data": 0,
        # gRPC would wait up to two minutes between attempts; a recommendation service that is back should be used at
        # once.
        "grpc.initial_reconnect_backoff_ms": 200,
        "grpc.min_reconnect_backoff_ms": 5_000,  # despite its name, the time that one attempt to connect may take
        "grpc.max_reconnect_backoff_ms": 5_000,
    }
    return list((options | dict(overrides)).items())


def _service_config() -> str:
    return (importlib.resources.files("tastemaker.v1") / "service_config.json").read_text(encoding="utf-8")
