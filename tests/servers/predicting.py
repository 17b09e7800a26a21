"""TensorFlow Serving's wire without a model behind it, so that a test decides what the front is told and when."""

import threading
from typing import Any

import grpc

from tastemaker.tfserving.v1 import predict_pb2, tensor_pb2

__all__ = ["Predicting"]


class Predicting(grpc.GenericRpcHandler):
    """Answers each Predict with the item m1, once `may_answer` is set."""

    def __init__(self) -> None:
        self.version = 7
        """Who says to have ranked; 0: nobody, the call is refused."""
        self.is_broken = False
        """Whether the answer breaks the contract of models."""
        self.may_answer = threading.Event()
        self.may_answer.set()

    def service(self, handler_call_details: Any) -> Any:
        if not handler_call_details.method.endswith("/Predict"):
            return None

        def answer(request: bytes, context: Any) -> bytes:
            self.may_answer.wait()
            if not self.version:
                context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found")
            response = predict_pb2.PredictResponse()
            response.model_spec.version.value = self.version
            response.outputs["item_id"].dtype = tensor_pb2.DATA_TYPE_STRING
            response.outputs["item_id"].string_val.append(b"m1")
            if not self.is_broken:
                response.outputs["score"].float_val.append(1.0)
            return response.SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer)
