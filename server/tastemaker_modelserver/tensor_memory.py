"""NumPy arrays to TensorFlow's tensors in memory and back: TF_Tensor of the C API.

A string tensor is an array of 24-byte cells (`tensorflow/core/platform/ctstring_internal.h`). Up to 22 bytes lie within
the cell, after a byte with the length: ids of users and items do, and are written all at once. Longer ones go one by
one through the functions of the C API.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tastemaker_modelserver.errors import UnimplementedError
from tastemaker_modelserver.tensorflow_c import array_type, quick
from tastemaker_modelserver.tensors import Array, data_type

__all__ = ["array_of", "fed"]

_STRING = int(tf.string.as_datatype_enum)
_CELL = 24
_WITHIN = 22
_CELLS = np.dtype([("length", np.uint8), ("text", f"S{_WITHIN}"), ("end", np.uint8)])
_KIND_BITS = 2  # of the first byte; 0 means that the string lies within the cell


@contextmanager
def fed(array: Array) -> Iterator[int]:
    """A TF_Tensor made from an array, to feed to a run; freed on leaving."""
    dtype = data_type(array)
    sizes = array_type(ctypes.c_int64, array.ndim)(*array.shape)
    if dtype == _STRING:
        length = array.size * _CELL
    else:
        array = np.asarray(array, order="C")
        length = array.nbytes
    tensor = quick.TF_AllocateTensor(dtype, sizes, array.ndim, length)
    if not tensor:
        raise MemoryError(f"No memory for a tensor of {length:,} bytes")
    outside: list[int] = []  # addresses of the cells that own memory outside of the tensor
    try:
        if dtype == _STRING and array.size:
            _fill(quick.TF_TensorData(tensor), array.ravel(), outside)
        elif array.size:
            ctypes.memmove(quick.TF_TensorData(tensor), array.ctypes.data, length)
        yield tensor
    finally:
        for cell in outside:
            quick.TF_StringDealloc(cell)
        quick.TF_DeleteTensor(tensor)


def _fill(address: int, strings: Array, outside: list[int]) -> None:
    lengths = _lengths(strings.tolist())
    cells = np.zeros(len(strings), dtype=_CELLS)
    cells["text"] = strings  # cut off where they are longer
    cells["length"] = lengths << _KIND_BITS
    ctypes.memmove(address, cells.ctypes.data, cells.nbytes)
    for position in np.flatnonzero(lengths > _WITHIN).tolist():
        cell = address + position * _CELL
        quick.TF_StringInit(cell)
        outside.append(cell)
        quick.TF_StringCopy(cell, strings[position], len(strings[position]))


def _lengths(strings: list[bytes]) -> NDArray[np.integer[Any]]:
    try:  # by far the fastest way, for lengths that fit into a byte
        return np.frombuffer(bytes(map(len, strings)), dtype=np.uint8)
    except ValueError:
        return np.fromiter(map(len, strings), dtype=np.intp, count=len(strings))


def array_of(tensor: int) -> Array:
    """A copy of a TF_Tensor; strings as `bytes` in an object array.

    Raises:
        UnimplementedError: NumPy has no such type: a resource or a variant.
    """
    shape = [quick.TF_Dim(tensor, axis) for axis in range(quick.TF_NumDims(tensor))]
    dtype = quick.TF_TensorType(tensor)
    length = quick.TF_TensorByteSize(tensor)
    if dtype == _STRING:
        return _strings(quick.TF_TensorData(tensor), length // _CELL).reshape(shape)
    array: Array = np.empty(shape, dtype=_numpy_type(dtype))
    if length:
        ctypes.memmove(array.ctypes.data, quick.TF_TensorData(tensor), length)
    return array


def _strings(address: int, count: int) -> Array:
    array: Array = np.empty(count, dtype=np.object_)
    if not count:
        return array
    cells = np.frombuffer(ctypes.string_at(address, count * _CELL), dtype=_CELLS)
    within = cells["length"] & (1 << _KIND_BITS) - 1 == 0
    # NumPy takes zero bytes at the end for padding: such a string, and one that lies elsewhere, is read by itself.
    strings = cells["text"].tolist()
    found = _lengths(strings)
    array[:] = strings
    for position in np.flatnonzero(~within | (found != cells["length"] >> _KIND_BITS)).tolist():
        cell = address + position * _CELL
        array[position] = ctypes.string_at(quick.TF_StringGetDataPointer(cell), quick.TF_StringGetSize(cell))
    return array


@cache
def _numpy_type(dtype: int) -> Any:
    kind = tf.dtypes.as_dtype(dtype)
    if kind in (tf.resource, tf.variant):
        raise UnimplementedError(f"An output of type {kind.name} cannot leave the model")
    return kind.as_numpy_dtype
