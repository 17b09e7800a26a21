"""REST bodies of Predict: rows (`instances`, each one element of the batch) or columns (`inputs`, whole tensors)."""

from collections.abc import Callable, Sequence
from typing import Any

from tensorflow.core.framework import tensor_pb2, types_pb2

from tastemaker_modelserver.errors import InvalidArgumentError, UnimplementedError
from tastemaker_modelserver.rest_json import (
    decode_base64,
    fill_signature_name,
    is_object,
    json_type,
    malformed,
    parse_object,
    shown,
)
from tastemaker_modelserver.signatures import Input, Signature, dtype_name

__all__ = ["fill_predict_request"]


def fill_predict_request(body: bytes, request: Any, find_signature: Callable[[str], Signature]) -> bool:
    """Fills a PredictRequest, whose model_spec names the model already.

    Args:
        body: JSON.
        request: The PredictRequest.
        find_signature: The signature of a name, `""` for the default one.

    Returns:
        Whether the body was in row format, and the answer should be.

    Raises:
        ServingError: The body does not fit the format or the signature.
    """
    document = parse_object(body)
    fill_signature_name(document, request)
    inputs = find_signature(request.model_spec.signature_name).inputs
    if not inputs:
        raise InvalidArgumentError(
            f"Failed to get input map for signature: {request.model_spec.signature_name or 'DEFAULT'}"
        )
    if "instances" in document and "inputs" in document:
        raise malformed(
            document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        )
    if "instances" in document:
        rows = document["instances"]
        if not isinstance(rows, list):
            raise malformed(document, "Expecting 'instances' to be an list/array")
        if not rows:
            raise malformed(document, "No values in 'instances' array")
        _fill_rows(rows, inputs, request.inputs)
        return True
    if "inputs" in document:
        _fill_columns(document["inputs"], inputs, request.inputs)
        return False
    raise InvalidArgumentError("Missing 'inputs' or 'instances' key")


def _fill_rows(rows: list[Any], inputs: Sequence[Input], tensors: Any) -> None:
    by_name = {given.alias: given for given in inputs}
    if not isinstance(rows[0], dict) and len(inputs) > 1:
        raise InvalidArgumentError(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    named = is_object(rows[0])
    shapes: dict[str, list[int]] = {}
    columns: dict[str, Any] = {}
    for number, row in enumerate(rows):
        if named and not is_object(row):
            raise InvalidArgumentError(f"Expecting object but got list at item {number} of input list")
        if not named and is_object(row):
            raise InvalidArgumentError(f"Expecting value/list but got object at item {number} of input list")
        values = row if named else {inputs[0].alias: row}
        for name, value in values.items():
            try:
                _add_instance(name, value, by_name, shapes, columns)
            except InvalidArgumentError as error:
                raise InvalidArgumentError(
                    f"Failed to process element: {number} "
                    + (f"key: {name} " if named else "")
                    + f"of 'instances' list. Error: {error}"
                ) from error
        if named and values.keys() != by_name.keys():
            raise InvalidArgumentError(
                f"Failed to process element: {number} of 'instances' list. JSON object: {shown(row)} keys must be "
                f"equal to: {','.join(sorted(by_name))}"
            )
    for name, tensor in columns.items():
        for size in (len(rows), *shapes[name]):
            tensor.tensor_shape.dim.add().size = size
        tensors[name].CopyFrom(tensor)


def _add_instance(
    name: str, value: Any, by_name: dict[str, Input], shapes: dict[str, list[int]], columns: dict[str, Any]
) -> None:
    if name not in by_name:
        raise InvalidArgumentError(f"JSON object: does not have named input: {name}")
    shape = _shape(value)
    if name not in columns:
        columns[name] = tensor_pb2.TensorProto(dtype=by_name[name].dtype)
        shapes[name] = shape
    _Values(columns[name], shape).add(value, 0)
    if shape != shapes[name]:
        raise InvalidArgumentError(f"Expecting shape {shapes[name]} but got: {shape}")


def _fill_columns(value: Any, inputs: Sequence[Input], tensors: Any) -> None:
    if not is_object(value):
        if len(inputs) > 1:
            raise InvalidArgumentError(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        value = {inputs[0].alias: value}
    for given in inputs:
        if given.alias not in value:
            raise InvalidArgumentError(f"Missing named input: {given.alias} in 'inputs' object.")
        shape = _shape(value[given.alias])
        tensor = tensors[given.alias]
        tensor.dtype = given.dtype
        for size in shape:
            tensor.tensor_shape.dim.add().size = size
        if not shape:
            tensor.tensor_shape.SetInParent()
        _Values(tensor, shape).add(value[given.alias], 0)


class _Values:
    """Walks nested lists of one shape, and appends their values to a TensorProto."""

    def __init__(self, tensor: Any, shape: Sequence[int]) -> None:
        kind = _KINDS.get(tensor.dtype)
        if kind is None:
            raise UnimplementedError(f"Conversion of JSON values to type: {dtype_name(tensor.dtype)}")
        field, self._accepts = kind
        self._dtype = tensor.dtype
        self._values = getattr(tensor, field)
        self._shape = shape

    def add(self, value: Any, level: int) -> None:
        if not isinstance(value, list):
            if level != len(self._shape):
                raise InvalidArgumentError(
                    f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at "
                    f"level: {len(self._shape)}"
                )
            self._values.append(self._leaf(value))
            return
        if level >= len(self._shape):
            raise InvalidArgumentError(f"Encountered list at unexpected level: {level} expected < {len(self._shape)}")
        if len(value) != self._shape[level]:
            raise InvalidArgumentError(
                f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: "
                f"{self._shape[level]}"
            )
        if level + 1 == len(self._shape) and not any(isinstance(item, list) for item in value):
            self._values.extend([self._leaf(item) for item in value])
            return
        for item in value:
            self.add(item, level + 1)

    def _leaf(self, value: Any) -> Any:
        if self._dtype == types_pb2.DT_STRING and isinstance(value, dict):
            return decode_base64(value)
        if not self._accepts(value):
            raise InvalidArgumentError(
                f"JSON Value: {shown(value)} Type: {json_type(value)} is not of expected type: "
                f"{dtype_name(self._dtype)}"
            )
        return value.encode() if isinstance(value, str) else value


def _integer(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_INT32 = _integer(-(2**31), 2**31 - 1)
_KINDS: dict[int, tuple[str, Callable[[Any], bool]]] = {
    types_pb2.DT_FLOAT: ("float_val", _number),
    types_pb2.DT_DOUBLE: ("double_val", _number),
    types_pb2.DT_INT32: ("int_val", _INT32),
    types_pb2.DT_INT16: ("int_val", _INT32),  # wraps like everywhere in TensorFlow Serving
    types_pb2.DT_INT8: ("int_val", _INT32),
    types_pb2.DT_UINT8: ("int_val", _INT32),
    types_pb2.DT_INT64: ("int64_val", _integer(-(2**63), 2**63 - 1)),
    types_pb2.DT_UINT32: ("uint32_val", _integer(0, 2**32 - 1)),
    types_pb2.DT_UINT64: ("uint64_val", _integer(0, 2**64 - 1)),
    types_pb2.DT_BOOL: ("bool_val", lambda value: isinstance(value, bool)),
    types_pb2.DT_STRING: ("string_val", lambda value: isinstance(value, str)),
}


def _shape(value: Any) -> list[int]:
    shape: list[int] = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return shape
