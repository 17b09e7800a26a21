"""TensorFlow's C API, as its header `tensorflow/c/c_api.h` declares it: what a server of SavedModels needs of it.

Python's own session holds the GIL for tens of milliseconds while it imports a graph, and keeps a Python object for each
of its operations, which a collection must find one by one when the version goes. The C API, whose functions TensorFlow
keeps stable, does neither. The library is the one that `import tensorflow` has loaded.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, Structure, c_char_p, c_int, c_int64, c_size_t, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import tensorflow as tf

from tastemaker_modelserver.errors import error_of

__all__ = ["Buffer", "Output", "array_type", "blocking", "checked", "quick"]


class Buffer(Structure):
    """`TF_Buffer`: a serialised message. The bytes stay the caller's."""

    _fields_ = (("data", c_void_p), ("length", c_size_t), ("data_deallocator", c_void_p))


class Output(Structure):
    """`TF_Output`: one output of an operation."""

    _fields_ = (("operation", c_void_p), ("index", c_int))


@cache
def array_type(kind: Any, length: int) -> Any:
    """`kind * length`, made once: ctypes would make a new class, in a cycle of references, each time."""
    return kind * length


_NAME = "libtensorflow_cc.2.dylib" if sys.platform == "darwin" else "libtensorflow_cc.so.2"
_PATH = str(Path(tf.sysconfig.get_lib()) / _NAME)

blocking = ctypes.CDLL(_PATH)
"""Functions that take their time; the GIL is free meanwhile."""

quick = ctypes.PyDLL(_PATH)
"""Functions that take microseconds. Letting go of the GIL for them would mean to wait for it again after each."""

_OUTPUTS, _BUFFER, _POINTERS, _STATUS = POINTER(Output), POINTER(Buffer), POINTER(c_void_p), c_void_p

# Function → its result and its arguments.
_BLOCKING: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "TF_CloseSession": (None, (c_void_p, _STATUS)),
    "TF_DeleteGraph": (None, (c_void_p,)),
    "TF_DeleteSession": (None, (c_void_p, _STATUS)),
    "TF_LoadSessionFromSavedModel": (
        c_void_p,
        (c_void_p, _BUFFER, c_char_p, POINTER(c_char_p), c_int, c_void_p, _BUFFER, _STATUS),
    ),
    "TF_NewSession": (c_void_p, (c_void_p, c_void_p, _STATUS)),
    "TF_SessionRun": (
        None,
        (
            *(c_void_p, _BUFFER),
            *(_OUTPUTS, _POINTERS, c_int),
            *(_OUTPUTS, _POINTERS, c_int),
            *(c_void_p, c_int, c_void_p, _STATUS),
        ),
    ),
}
_QUICK: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "TF_AllocateTensor": (c_void_p, (c_int, POINTER(c_int64), c_int, c_size_t)),
    "TF_DeleteBuffer": (None, (_BUFFER,)),
    "TF_DeleteSessionOptions": (None, (c_void_p,)),
    "TF_DeleteStatus": (None, (_STATUS,)),
    "TF_DeleteTensor": (None, (c_void_p,)),
    "TF_Dim": (c_int64, (c_void_p, c_int)),
    "TF_GetCode": (c_int, (_STATUS,)),
    "TF_GraphOperationByName": (c_void_p, (c_void_p, c_char_p)),
    "TF_Message": (c_char_p, (_STATUS,)),
    "TF_NewBuffer": (_BUFFER, ()),
    "TF_NewGraph": (c_void_p, ()),
    "TF_NewSessionOptions": (c_void_p, ()),
    "TF_NewStatus": (_STATUS, ()),
    "TF_NumDims": (c_int, (c_void_p,)),
    "TF_OperationNumOutputs": (c_int, (c_void_p,)),
    "TF_SetConfig": (None, (c_void_p, c_char_p, c_size_t, _STATUS)),
    "TF_StringCopy": (None, (c_void_p, c_char_p, c_size_t)),
    "TF_StringDealloc": (None, (c_void_p,)),
    "TF_StringGetDataPointer": (c_void_p, (c_void_p,)),
    "TF_StringGetSize": (c_size_t, (c_void_p,)),
    "TF_StringInit": (None, (c_void_p,)),
    "TF_TensorByteSize": (c_size_t, (c_void_p,)),
    "TF_TensorData": (c_void_p, (c_void_p,)),
    "TF_TensorType": (c_int, (c_void_p,)),
}


def _declare(library: Any, functions: dict[str, tuple[Any, tuple[Any, ...]]]) -> None:
    for name, (result, arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments


_declare(blocking, _BLOCKING)
_declare(quick, _QUICK)


@contextmanager
def checked() -> Iterator[int]:
    """A TF_Status for one call.

    Raises:
        ServingError: On leaving, when the call failed: the runtime's own status and message.
    """
    status = quick.TF_NewStatus()
    try:
        yield status
        code = quick.TF_GetCode(status)
        if code:
            raise error_of(code, quick.TF_Message(status).decode(errors="replace"))
    finally:
        quick.TF_DeleteStatus(status)
