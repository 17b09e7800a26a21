"""From responses to TensorFlow Serving's JSON: rows or columns, decimals as short as they read back, bytes as `b64`."""

import base64
import json
from typing import Any

import numpy as np
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

from tastemaker_modelserver.errors import InternalError, InvalidArgumentError
from tastemaker_modelserver.tensors import Array, decode

__all__ = ["classification_json", "error_json", "metadata_json", "predict_json", "regression_json", "status_json"]

_BYTES_SUFFIX = "_bytes"


def predict_json(response: Any, *, rows: bool) -> str:
    """A PredictResponse as `predictions` (row format) or `outputs`.

    Raises:
        InvalidArgumentError: Row format, and the outputs do not all have one row per row.
    """
    arrays = {alias: decode(tensor, alias) for alias, tensor in sorted(response.outputs.items())}
    if not arrays:
        raise InvalidArgumentError("Cannot convert empty tensor map to JSON")
    if not rows:
        columns = {alias: _plain(array, alias) for alias, array in arrays.items()}
        return json.dumps({"outputs": columns if len(columns) > 1 else next(iter(columns.values()))})
    size: int | None = None
    for alias, array in arrays.items():
        if array.ndim == 0:
            raise InvalidArgumentError(f"Tensor name: {alias} has no shape information ")
        if size is not None and array.shape[0] != size:
            raise InvalidArgumentError(
                f"Tensor name: {alias} has inconsistent batch size: {array.shape[0]} expecting: {size}"
            )
        size = array.shape[0]
    plain = {alias: _plain(array, alias) for alias, array in arrays.items()}
    if len(plain) == 1:
        return json.dumps({"predictions": next(iter(plain.values()))})
    predictions = [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]
    return json.dumps({"predictions": predictions})


def classification_json(response: Any) -> str:
    """A ClassificationResponse: a list of [label, score] per example."""
    results = [
        [[entry.label, _short(np.float32(entry.score))] for entry in found.classes]
        for found in response.result.classifications
    ]
    if not results:
        raise InvalidArgumentError("Cannot convert empty ClassificationResults to JSON")
    return json.dumps({"results": results})


def regression_json(response: Any) -> str:
    """A RegressionResponse: a value per example."""
    results = [_short(np.float32(found.value)) for found in response.result.regressions]
    if not results:
        raise InvalidArgumentError("Cannot convert empty RegressionResults to JSON")
    return json.dumps({"results": results})


def status_json(response: Any) -> str:
    """A GetModelStatusResponse."""
    return json_format.MessageToJson(
        response, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
    )


def metadata_json(response: Any) -> str:
    """A GetModelMetadataResponse, with the signatures in place of the `Any` that holds them."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    if not response.metadata["signature_def"].Unpack(signatures):
        raise InternalError("Failed to unpack 'Any' object to 'SignatureDefMap'.")
    described = {
        "model_spec": _described(response.model_spec),
        "metadata": {"signature_def": _described(signatures)},
    }
    return json.dumps(described, indent=1)


def error_json(message: str) -> str:
    """The body of every failure."""
    return json.dumps({"error": message})


def _described(message: Any) -> Any:
    return json_format.MessageToDict(
        message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
    )


def _plain(array: Array, alias: str) -> Any:
    if array.dtype == np.object_:
        return _strings(array.tolist(), alias)
    if array.dtype in (np.float32, np.float64):
        return _decimals(array)
    if array.dtype.kind in "iub":
        return array.tolist()
    raise InvalidArgumentError(f"Failed to write JSON value for tensor type: {array.dtype.name}")


def _decimals(array: Array) -> Any:
    if array.dtype == np.float64:
        return array.tolist()
    flat = np.array([_short(value) for value in array.ravel()], dtype=np.float64)
    return flat.reshape(array.shape).tolist()


def _short(value: Any) -> float:
    """A float32 as the float64 with the same shortest decimals, so that 0.2 is not written as 0.20000000298023224."""
    return float(str(value))


def _strings(value: Any, alias: str) -> Any:
    if isinstance(value, list):
        return [_strings(item, alias) for item in value]
    if alias.endswith(_BYTES_SUFFIX):
        return {"b64": base64.b64encode(value).decode("ascii")}
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(
            f"Output {alias} holds bytes that are not UTF-8: name it {alias}{_BYTES_SUFFIX} to get them as base64"
        ) from error
