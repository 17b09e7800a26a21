"""What the benchmarks of the model server ask it: a Predict, and the states of its versions."""

from collections.abc import Callable, Mapping
from typing import Any

import grpc

from bench import gru_model
from tastemaker.tfserving.v1 import model_status_pb2, predict_pb2

__all__ = ["AVAILABLE", "END", "PREDICT", "predict_call", "states_call"]

PREDICT = "/tensorflow.serving.PredictionService/Predict"
_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
AVAILABLE = model_status_pb2.ModelVersionStatus.STATE_AVAILABLE
END = model_status_pb2.ModelVersionStatus.STATE_END
_TIMEOUT_S = 60


def predict_call(channel: grpc.Channel) -> Callable[[], Any]:
    """Sends `gru_model.predict_request` and waits for the answer."""
    stub = channel.unary_unary(
        PREDICT,
        request_serializer=predict_pb2.PredictRequest.SerializeToString,
        response_deserializer=predict_pb2.PredictResponse.FromString,
    )
    request = gru_model.predict_request()
    return lambda: stub(request, timeout=_TIMEOUT_S)


def states_call(channel: grpc.Channel) -> Callable[[], Mapping[int, int]]:
    """Asks for the states of the versions of `gru`."""
    stub = channel.unary_unary(
        _STATUS,
        request_serializer=model_status_pb2.GetModelStatusRequest.SerializeToString,
        response_deserializer=model_status_pb2.GetModelStatusResponse.FromString,
    )
    request = model_status_pb2.GetModelStatusRequest(model_spec=predict_pb2.ModelSpec(name="gru"))
    return lambda: {status.version: status.state for status in stub(request, timeout=_TIMEOUT_S).model_version_status}
