"""Asks models over TensorFlow Serving's wire, with the twin of its messages.

Shapes are kept few, so that the model server can batch calls and its functions need not be traced anew: T is the
surface's history length, E the next power of two, and `k` has one value per row ([B], here [1]), which stock batching
can concatenate.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from tastemaker.tfserving.v1 import model_metadata_pb2, predict_pb2, tensor_pb2
from tastemaker_server.call import REQUEST_ID_KEY, logged_request_id, metadata_value
from tastemaker_server.metrics.models import BROKEN_ANSWER, ModelMetrics

__all__ = ["ModelClient", "ModelUnavailableError", "RankedItems", "ServedModel"]

_MIN_EXCLUDE = 16
_STRING = tensor_pb2.DATA_TYPE_STRING


class ModelUnavailableError(Exception):
    """The model gave no answer; `code` is the model server's status, None where the answer itself was wrong."""

    def __init__(self, message: str, *, code: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        self.code = code

    @property
    def timed_out(self) -> bool:
        """Whether time was the reason."""
        return self.code == grpc.StatusCode.DEADLINE_EXCEEDED


@dataclass(frozen=True, slots=True, order=True)
class ServedModel:
    """What a surface asks; written `rnn`, or `rnn/stable` where it is asked by label."""

    name: str
    """As the model server names it."""
    version_label: str = ""
    """The label of the version, which the model server keeps; "" for the newest that serves."""

    def __str__(self) -> str:
        return f"{self.name}/{self.version_label}" if self.version_label else self.name


@dataclass(frozen=True, slots=True)
class RankedItems:
    """A ranking: items with their scores, best first."""

    item_ids: Sequence[str]
    """K ids."""
    scores: Sequence[float]
    """K scores, falling."""


class ModelClient:
    """One channel to the model server, shared by all calls."""

    def __init__(self, address: str, *, metrics: ModelMetrics) -> None:
        """Connects lazily to `address`, host:port, and again by itself, at most 2 s after the server came back.

        Calls are spread over all hosts that the name resolves to.
        """
        options = [
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2000),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.max_receive_message_length", 16 * 1024 * 1024),
            # A name may stand for several model servers (a headless Service): calls go to all of them in turn.
            ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
        ]
        self._metrics = metrics
        self._channel = grpc.aio.insecure_channel(address, options=options)
        self._predict = self._channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=predict_pb2.PredictRequest.SerializeToString,
            response_deserializer=predict_pb2.PredictResponse.FromString,
        )
        self._metadata = self._channel.unary_unary(
            "/tensorflow.serving.PredictionService/GetModelMetadata",
            request_serializer=model_metadata_pb2.GetModelMetadataRequest.SerializeToString,
            response_deserializer=model_metadata_pb2.GetModelMetadataResponse.FromString,
        )

    async def recommend(
        self,
        model: ServedModel,
        *,
        history: Sequence[str],
        history_length: int,
        exclude: Sequence[str],
        k: int,
        timeout_seconds: float,
    ) -> RankedItems:
        """Calls the model's `recommend` signature for one user, under the request id of the call being answered.

        Args:
            model: Which.
            history: Item ids, oldest first; the newest `history_length` are sent.
            history_length: T; shorter histories are padded on the left.
            exclude: Item ids that must not come back.
            k: How many items to return at most.
            timeout_seconds: When to give up.

        Raises:
            ModelUnavailableError: The server cannot be reached, has no such model or label, was too slow or gave an
                answer that does not keep the contract.
        """
        request = recommend_request(model, history=history, history_length=history_length, exclude=exclude, k=k)
        request_id = logged_request_id()
        metadata = ((REQUEST_ID_KEY, metadata_value(request_id)),) if request_id else None
        began = time.monotonic()
        try:
            response = await self._predict(request, timeout=timeout_seconds, metadata=metadata)
            ranked = _ranked_items(model, response)
        except grpc.aio.AioRpcError as error:
            self._metrics.failed(model.name, error.code().name, time.monotonic() - began)
            raise _unavailable(model, error) from error
        except ModelUnavailableError:
            self._metrics.failed(model.name, BROKEN_ANSWER, time.monotonic() - began)
            raise
        self._metrics.answered(model.name, response.model_spec.version.value, time.monotonic() - began)
        return ranked

    async def check(self, model: ServedModel, timeout_seconds: float) -> None:
        """Asks the model server whether a call of `model` would find a version.

        It asks for metadata, which looks a label up as a call does; GetModelStatus passes over labels.

        Raises:
            ModelUnavailableError: The server cannot be reached, or has no version of the model behind this label.
        """
        request = model_metadata_pb2.GetModelMetadataRequest(
            model_spec=_model_spec(model), metadata_field=["signature_def"]
        )
        try:
            await self._metadata(request, timeout=timeout_seconds)
        except grpc.aio.AioRpcError as error:
            raise _unavailable(model, error) from error

    async def close(self) -> None:
        """Closes the channel; calls in flight are cancelled."""
        await self._channel.close()


def recommend_request(
    model: ServedModel, *, history: Sequence[str], history_length: int, exclude: Sequence[str], k: int
) -> predict_pb2.PredictRequest:
    """Builds the request that `ModelClient.recommend` sends; the arguments are the same."""
    newest = [item.encode() for item in history[-history_length:]]
    newest = [b""] * (history_length - len(newest)) + newest  # [T]
    width = max(_MIN_EXCLUDE, 1 << (len(exclude) - 1).bit_length()) if exclude else _MIN_EXCLUDE
    excluded = [item.encode() for item in exclude] + [b""] * (width - len(exclude))  # [E]
    request = predict_pb2.PredictRequest(model_spec=_model_spec(model))
    request.model_spec.signature_name = "recommend"
    for name, values in (("history", newest), ("exclude", excluded)):
        tensor = request.inputs[name]
        tensor.dtype = _STRING
        tensor.tensor_shape.dim.add(size=1)
        tensor.tensor_shape.dim.add(size=len(values))
        tensor.string_val.extend(values)
    tensor = request.inputs["k"]
    tensor.dtype = tensor_pb2.DATA_TYPE_INT32
    tensor.tensor_shape.dim.add(size=1)
    tensor.int_val.append(k)
    return request


def _model_spec(model: ServedModel) -> predict_pb2.ModelSpec:
    return predict_pb2.ModelSpec(name=model.name, version_label=model.version_label or None)


def _unavailable(model: ServedModel, error: grpc.aio.AioRpcError) -> ModelUnavailableError:
    return ModelUnavailableError(f"{model}: {error.code().name}: {error.details()}", code=error.code())


def _ranked_items(model: ServedModel, response: predict_pb2.PredictResponse) -> RankedItems:
    ids = list(response.outputs["item_id"].string_val)
    scores = response.outputs["score"].float_val
    if len(scores) != len(ids):
        raise ModelUnavailableError(
            f"{model}: the answer has {len(ids)} item_id and {len(scores)} score values; the model server must send "
            "typed values (without --enable_serialization_as_tensor_content), and the model must keep the contract of "
            "docs/architecture.md"
        )
    try:
        real = ids.index(b"")  # where padding begins
    except ValueError:
        real = len(ids)
    try:
        return RankedItems([item.decode() for item in ids[:real]], scores[:real])
    except UnicodeDecodeError as error:
        raise ModelUnavailableError(f"{model}: an item id is not UTF-8: {error}") from error
