"""A running model server, asked over TensorFlow Serving's own API: what it serves, and to read its config anew."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import grpc

from tastemaker.tfserving.v1 import model_management_pb2, model_status_pb2, predict_pb2
from tastemaker_jobs.errors import PromotionError

__all__ = ["Serving", "connected_to"]

_POLL_SECONDS = 0.2
_CALL_SECONDS = 10.0
_STATE = model_status_pb2.ModelVersionStatus


class Serving:
    """A channel to the model server."""

    def __init__(self, address: str, channel: grpc.Channel) -> None:
        self._address = address
        self._status = channel.unary_unary(
            "/tensorflow.serving.ModelService/GetModelStatus",
            request_serializer=model_status_pb2.GetModelStatusRequest.SerializeToString,
            response_deserializer=model_status_pb2.GetModelStatusResponse.FromString,
        )
        self._reload = channel.unary_unary(
            "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
            request_serializer=model_management_pb2.ReloadConfigRequest.SerializeToString,
            response_deserializer=model_management_pb2.ReloadConfigResponse.FromString,
        )

    def reload(self, config: bytes, *, timeout_seconds: float) -> None:
        """Hand the server a whole configuration; returns when it has taken it.

        Args:
            config: A serialized ModelServerConfig.
            timeout_seconds: How long loading may take.

        Raises:
            PromotionError: The server is not there, or refuses it.
        """
        request = model_management_pb2.ReloadConfigRequest(config=config)
        try:
            status = self._reload(request, timeout=timeout_seconds).status
        except grpc.RpcError as error:
            raise self._failed("did not take the configuration", error) from error
        if status.error_code:
            raise PromotionError(f"The model server at {self._address} refused: {status.error_message}")

    def wait_until_available(self, name: str, versions: Iterable[int], *, timeout_seconds: float) -> None:
        """Return once all these versions answer calls.

        Args:
            name: The model.
            versions: Of it.
            timeout_seconds: When to give up.

        Raises:
            PromotionError: A version could not be loaded, or not in time.
        """
        until, waited_for = time.monotonic() + timeout_seconds, set(versions)
        while True:
            states = self.states(name)
            missing = {v for v in waited_for if v not in states or states[v].state != _STATE.STATE_AVAILABLE}
            if not missing:
                return
            for version in sorted(missing & states.keys()):
                status = states[version].status
                if status.error_code:
                    raise PromotionError(f"{name} version {version} could not be loaded: {status.error_message}")
            if time.monotonic() > until:
                said = ", ".join(
                    f"{v} ({_word(states[v].state) if v in states else 'not seen'})" for v in sorted(missing)
                )
                raise PromotionError(
                    f"{name}: after {timeout_seconds:g} s not available: version {said}. Look at the model server's"
                    " log, or give it more time with --timeout-seconds."
                )
            time.sleep(_POLL_SECONDS)

    def states(self, name: str) -> dict[int, model_status_pb2.ModelVersionStatus]:
        """Each version that the server knows; none where it does not know the model.

        Raises:
            PromotionError: The server is not there.
        """
        request = model_status_pb2.GetModelStatusRequest(model_spec=predict_pb2.ModelSpec(name=name))
        try:
            response = self._status(request, timeout=_CALL_SECONDS)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return {}
            raise self._failed("does not say what it serves", error) from error
        return {status.version: status for status in response.model_version_status}

    def _failed(self, what: str, error: grpc.RpcError) -> PromotionError:
        return PromotionError(
            f"The model server at {self._address} {what} ({error.code().name}: {error.details()}). Is it running there?"
        )


@contextmanager
def connected_to(address: str) -> Iterator[Serving]:
    """A channel for as long as the block runs.

    Args:
        address: host:port of the model server's gRPC.
    """
    with grpc.insecure_channel(address) as channel:
        yield Serving(address, channel)


def _word(state: int) -> str:
    return _STATE.State.Name(state).removeprefix("STATE_").lower()
