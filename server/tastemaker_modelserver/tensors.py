"""TensorProto to NumPy and back, with the meaning that TensorFlow's C++ gives both encodings.

The rare types go through `tf.make_ndarray` and `tf.make_tensor_proto`. Those that recommenders send (strings, float32,
the integers) take a shorter way here, because at thousands of calls a second they are most of the server's own work.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework import tensor_pb2, types_pb2

from tastemaker_modelserver.errors import InvalidArgumentError

__all__ = ["Array", "concatenate", "data_type", "decode", "encode_into", "shape_of"]

Array = NDArray[Any]

_SHAPES: dict[bytes, tuple[int, ...]] = {}
_MOST_SHAPES = 4096

# dtype → (its *_val field, its NumPy type): where the field holds the values one to one
_TYPED: dict[int, tuple[str, Any]] = {
    types_pb2.DT_STRING: ("string_val", np.object_),
    types_pb2.DT_FLOAT: ("float_val", np.float32),
    types_pb2.DT_DOUBLE: ("double_val", np.float64),
    types_pb2.DT_INT32: ("int_val", np.int32),
    types_pb2.DT_INT64: ("int64_val", np.int64),
    types_pb2.DT_INT16: ("int_val", np.int16),
    types_pb2.DT_INT8: ("int_val", np.int8),
    types_pb2.DT_UINT8: ("int_val", np.uint8),
    types_pb2.DT_UINT16: ("int_val", np.uint16),
    types_pb2.DT_UINT32: ("uint32_val", np.uint32),
    types_pb2.DT_UINT64: ("uint64_val", np.uint64),
    types_pb2.DT_BOOL: ("bool_val", np.bool_),
}

_DATA_TYPES: dict[Any, int] = {np.dtype(numpy_type): number for number, (_, numpy_type) in _TYPED.items()}


def shape_of(proto: Any) -> tuple[int, ...]:
    """The sizes of a TensorProto's dimensions.

    Requests come in few shapes, and a look at each dimension is a walk through Python objects: known shapes are looked
    up by their bytes.
    """
    key = proto.tensor_shape.SerializeToString()
    shape = _SHAPES.get(key)
    if shape is None:
        shape = tuple(dim.size for dim in proto.tensor_shape.dim)
        if len(_SHAPES) < _MOST_SHAPES:
            _SHAPES[key] = shape
    return shape


def decode(proto: Any, alias: str) -> Array:
    """A TensorProto as an array of its shape; strings as `bytes` in an object array.

    Raises:
        InvalidArgumentError: The values do not fit the shape and the dtype; `alias` names the input.
    """
    shape = shape_of(proto)
    typed = _TYPED.get(proto.dtype)
    if min(shape, default=0) < 0:
        raise InvalidArgumentError(f"tensor parsing error: {alias}: shape {list(shape)} has a negative size")
    try:
        if typed is not None and not proto.tensor_content:
            return _filled(getattr(proto, typed[0]), _size(shape), typed[1]).reshape(shape)
        if proto.dtype == types_pb2.DT_STRING and proto.tensor_content:
            return np.array(_split_strings(proto.tensor_content, _size(shape)), dtype=np.object_).reshape(shape)
        array: Array = tf.make_ndarray(proto)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise InvalidArgumentError(f"tensor parsing error: {alias}: {error}") from error
    if array.shape != shape:  # too many values: NumPy and TensorFlow would each do something else with them
        raise InvalidArgumentError(f"tensor parsing error: {alias}: the values do not fill the shape {list(shape)}")
    return array


def concatenate(protos: Sequence[Any], alias: str) -> Array:
    """Several TensorProtos of one dtype, whose shapes differ in the first dimension only, as one array along it.

    Shapes: [B_i, ...] each → [sum of B_i, ...].

    Raises:
        InvalidArgumentError: As `decode`.
    """
    if len(protos) == 1:
        return decode(protos[0], alias)
    first = protos[0]
    typed = _TYPED.get(first.dtype)
    if typed is not None:
        values: list[Any] = []
        rows = 0
        inner = shape_of(first)[1:]
        width = _size(inner)
        for proto in protos:
            count = proto.tensor_shape.dim[0].size
            sent = getattr(proto, typed[0])
            # Each by itself: what one caller sent too much must not fill what another left to be repeated.
            if proto.tensor_content or count < 0 or width < 0 or len(sent) != count * width:
                break
            values.extend(sent)
            rows += count
        else:
            return _array(values, typed[1]).reshape((rows, *inner))
    return np.concatenate([decode(proto, alias) for proto in protos])


def data_type(array: Array) -> int:
    """The DataType of an array."""
    return _DATA_TYPES.get(array.dtype) or int(tf.dtypes.as_dtype(array.dtype).as_datatype_enum)


def encode_into(proto: Any, array: Array, *, as_content: bool) -> None:
    """Writes an array into an empty TensorProto, as typed `*_val` fields or as `tensor_content`.

    The content of strings is TensorFlow's own packing, which its C++ reads and `tf.make_ndarray` does not.
    """
    dtype = data_type(array)
    if as_content or dtype in _TYPED:
        proto.dtype = dtype
        for size in array.shape:
            proto.tensor_shape.dim.add().size = size
        if not as_content:
            getattr(proto, _TYPED[dtype][0]).extend(array.ravel().tolist())
        elif dtype == types_pb2.DT_STRING:
            proto.tensor_content = _join_strings(array.ravel().tolist())
        else:
            proto.tensor_content = array.tobytes()
    else:
        proto.CopyFrom(_typed_proto(array))


def _typed_proto(array: Array) -> Any:
    """float16, complex and the other rare types: TensorFlow's packing, then moved from content into the typed field."""
    made = tf.make_tensor_proto(array)
    if not made.tensor_content:
        return made
    typed = tensor_pb2.TensorProto(dtype=made.dtype, tensor_shape=made.tensor_shape)
    flat = np.frombuffer(made.tensor_content, dtype=array.dtype)
    if made.dtype in (types_pb2.DT_HALF, types_pb2.DT_BFLOAT16):
        typed.half_val.extend(flat.view(np.uint16).tolist())
    elif made.dtype == types_pb2.DT_COMPLEX64:
        typed.scomplex_val.extend(flat.view(np.float32).tolist())
    elif made.dtype == types_pb2.DT_COMPLEX128:
        typed.dcomplex_val.extend(flat.view(np.float64).tolist())
    else:
        return made
    return typed


def _array(values: Sequence[Any], numpy_type: Any) -> Array:
    """Field values as an array; small integers travel in 32 bits, and TensorFlow keeps the low ones."""
    if numpy_type in (np.int8, np.int16, np.uint8, np.uint16):
        return np.array(values, dtype=np.int32).astype(numpy_type)
    return np.array(values, dtype=numpy_type)


def _filled(values: Sequence[Any], size: int, numpy_type: Any) -> Array:
    """`size` values: TensorFlow ignores what the shape has no room for, and repeats the last where some are missing."""
    found = _array(values[:size], numpy_type)
    if len(found) == size:
        return found
    missing = found[-1] if len(found) else (b"" if numpy_type is np.object_ else numpy_type(0))
    return np.concatenate([found, np.full(size - len(found), missing, dtype=numpy_type)])


def _join_strings(strings: Sequence[bytes]) -> bytes:
    """The opposite of `_split_strings`."""
    content = bytearray()
    for text in strings:
        length = len(text)
        while length >= 0x80:
            content.append(length & 0x7F | 0x80)
            length >>= 7
        content.append(length)
    return bytes(content) + b"".join(strings)


def _split_strings(content: bytes, count: int) -> list[bytes]:
    """TensorFlow's content encoding of strings, as C++ clients send it: `count` varint lengths, then the bytes."""
    lengths: list[int] = []
    position = 0
    while len(lengths) < count:
        value = shift = 0
        while True:
            if position == len(content):
                raise ValueError("tensor_content ends early")
            byte = content[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        lengths.append(value)
    if position + sum(lengths) != len(content):
        raise ValueError("tensor_content does not hold the strings that it announces")
    strings: list[bytes] = []
    for length in lengths:
        strings.append(content[position : position + length])
        position += length
    return strings


def _size(shape: Sequence[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
