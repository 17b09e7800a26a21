"""Requests, built with the official messages, and what a call that must fail says."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import pytest

__all__ = ["Asking", "Row"]

Row = Mapping[str, str | float]


class Asking:
    """Builds requests."""

    def __init__(self, tf: Any) -> None:
        self.tf = tf
        self.predict_pb2 = importlib.import_module("tensorflow_serving.apis.predict_pb2")
        self._classification = importlib.import_module("tensorflow_serving.apis.classification_pb2")
        self._regression = importlib.import_module("tensorflow_serving.apis.regression_pb2")
        self._inference = importlib.import_module("tensorflow_serving.apis.inference_pb2")

    def predict(
        self,
        name: str,
        *,
        signature: str = "",
        version: int | None = None,
        label: str = "",
        outputs: tuple[str, ...] = (),
        **inputs: Any,
    ) -> Any:
        """A PredictRequest; an input is a TensorProto or what `make_tensor_proto` takes, float32 by default."""
        made = self.predict_pb2.PredictRequest()
        made.model_spec.name = name
        made.model_spec.signature_name = signature
        if version is not None:
            made.model_spec.version.value = version
        if label:
            made.model_spec.version_label = label
        for alias, value in inputs.items():
            proto = value if hasattr(value, "tensor_shape") else self.tf.make_tensor_proto(value)
            made.inputs[alias].CopyFrom(proto)
        made.output_filter.extend(outputs)
        return made

    def recommend(self, history: list[str], exclude: list[str], k: int, *, scalar: bool = False) -> Any:
        """A request to `ranker` as our front sends it, or with a scalar `k`."""
        count = self.tf.make_tensor_proto(k if scalar else [k], dtype=self.tf.int32)
        return self.predict("ranker", signature="recommend", history=[history], exclude=[exclude], k=count)

    def classification(self, name: str, *rows: Row, signature: str = "", context: Row | None = None) -> Any:
        """A ClassificationRequest; a row is an example's features by name, and the context as well."""
        return self._with_examples(self._classification.ClassificationRequest(), name, signature, rows, context)

    def regression(self, name: str, *rows: Row, signature: str = "", context: Row | None = None) -> Any:
        """A RegressionRequest."""
        return self._with_examples(self._regression.RegressionRequest(), name, signature, rows, context)

    def inference(self, tasks: Sequence[tuple[str, str, str]], *rows: Row, context: Row | None = None) -> Any:
        """A MultiInferenceRequest; a task is a model, a signature and a method."""
        request = self._inference.MultiInferenceRequest()
        for name, signature, method in tasks:
            task = request.tasks.add(method_name=method)
            task.model_spec.name, task.model_spec.signature_name = name, signature
        _fill(request.input, rows, context)
        return request

    @staticmethod
    def _with_examples(request: Any, name: str, signature: str, rows: Sequence[Row], context: Row | None) -> Any:
        request.model_spec.name, request.model_spec.signature_name = name, signature
        _fill(request.input, rows, context)
        return request

    @staticmethod
    def failure(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
        """The status and the message of a call that must fail."""
        with pytest.raises(grpc.RpcError) as caught:
            call()
        error: Any = caught.value
        return error.code(), error.details()


def _fill(target: Any, rows: Sequence[Row], context: Row | None) -> None:
    """Writes a `tensorflow.serving.Input`."""
    if context is not None:
        _write(target.example_list_with_context.context.features, context)
    chosen = target.example_list if context is None else target.example_list_with_context
    for row in rows:
        _write(chosen.examples.add().features, row)


def _write(features: Any, values: Row) -> None:
    for name, value in values.items():
        if isinstance(value, str):
            features.feature[name].bytes_list.value.append(value.encode())
        else:
            features.feature[name].float_list.value.append(value)
