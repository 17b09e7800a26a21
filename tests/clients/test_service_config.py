"""The two service configs beside the protos, and what Python's gRPC makes of them. clients/node has Node's tests."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

import tastemaker_client.channel
from tastemaker.v1 import feedback_service_pb2, recommendation_service_pb2
from tastemaker_client import Client, UnavailableError

_PROTOS = Path(__file__).resolve().parents[2] / "proto" / "tastemaker" / "v1"
_RETRYING = "service_config.json"
_HEDGING = "service_config_hedging.json"
_SERVICES = {
    recommendation_service_pb2.DESCRIPTOR.services_by_name["RecommendationService"].full_name,
    feedback_service_pb2.DESCRIPTOR.services_by_name["FeedbackService"].full_name,
}


def _policies(file: str) -> dict[str, dict[str, Any]]:
    """Service → its method config, without the names."""
    config = json.loads((_PROTOS / file).read_text("utf-8"))
    return {name["service"]: entry for entry in config["methodConfig"] for name in entry.pop("name")}


def _recommend(peer: Any, **options: str) -> None:
    with Client(peer.address, options=options) as client:
        client.recommend("42", "home", timeout_seconds=20)


@pytest.mark.parametrize("file", [_RETRYING, _HEDGING])
def test_every_service_has_one_policy_and_repeats_only_what_was_unavailable(file: str) -> None:
    policies = _policies(file)
    assert set(policies) == _SERVICES
    for policy in policies.values():
        ((kind, values),) = policy.items()  # some gRPC libraries refuse a config with both kinds for one method
        codes = {"retryPolicy": "retryableStatusCodes", "hedgingPolicy": "nonFatalStatusCodes"}[kind]
        assert values[codes] == ["UNAVAILABLE"]


def test_only_reads_are_hedged_and_all_else_is_alike() -> None:
    hedged = {service for service, policy in _policies(_HEDGING).items() if "hedgingPolicy" in policy}
    assert hedged == {"tastemaker.v1.RecommendationService"}
    retrying, hedging = (json.loads((_PROTOS / file).read_text("utf-8")) for file in (_RETRYING, _HEDGING))
    for config in (retrying, hedging):
        del config["methodConfig"]
    assert retrying == hedging
    feedback = "tastemaker.v1.FeedbackService"
    assert _policies(_HEDGING)[feedback] == _policies(_RETRYING)[feedback]


def test_pythons_grpc_knows_no_hedging_and_would_not_even_retry(peer: Any, refusal: Any) -> None:
    """Why this client comes with retries. Should it fail on a new grpcio, give the client the hedging config."""
    peer.answers += [refusal(grpc.StatusCode.UNAVAILABLE)]
    with pytest.raises(UnavailableError):
        _recommend(peer, **{"grpc.service_config": (_PROTOS / _HEDGING).read_text("utf-8")})
    assert len(peer.requests) == 1

    peer.answers += [refusal(grpc.StatusCode.UNAVAILABLE)]
    _recommend(peer)
    assert len(peer.requests) == 3


def test_retries_end_while_most_calls_fail(peer: Any, refusal: Any) -> None:
    peer.answers += [refusal(grpc.StatusCode.UNAVAILABLE)] * 1000
    with Client(peer.address) as client:

        def fail(_: int) -> None:
            with pytest.raises(UnavailableError):
                client.recommend("42", "home", timeout_seconds=20)

        with ThreadPoolExecutor(30) as pool:
            list(pool.map(fail, range(30)))
        before = len(peer.requests)
        fail(0)

    assert before < 30 * 4
    assert len(peer.requests) == before + 1


def test_pings_go_out_between_calls_and_no_more_often_than_a_front_allows() -> None:
    options = dict(tastemaker_client.channel.channel_options({}))
    assert options["grpc.keepalive_permit_without_calls"] == 1
    assert options["grpc.http2.max_pings_without_data"] == 0
    assert int(options["grpc.keepalive_time_ms"]) >= 10_000
