"""From a model's arrays to the results of Classify and Regress, with TensorFlow Serving's checks of their shapes."""

from typing import Any

import numpy as np
from tensorflow.core.framework import types_pb2

from tastemaker_modelserver.errors import InternalError, InvalidArgumentError
from tastemaker_modelserver.signatures import dtype_name
from tastemaker_modelserver.tensors import Array, data_type

__all__ = ["CLASSES", "SCORES", "VALUES", "fill_classes", "fill_values"]

CLASSES, SCORES, VALUES = "classes", "scores", "outputs"


def fill_classes(result: Any, arrays: dict[str, Array], count: int) -> None:
    """Writes classes and scores, [N, number of classes] each, into a ClassificationResult of N = `count` entries.

    Raises:
        InvalidArgumentError: The model's outputs have another shape or dtype.
    """
    for alias, dtype in ((CLASSES, types_pb2.DT_STRING), (SCORES, types_pb2.DT_FLOAT)):
        if alias in arrays:
            _check(arrays[alias], alias, dtype, count)
    classes, scores = arrays.get(CLASSES), arrays.get(SCORES)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise InvalidArgumentError(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    width = classes.shape[1] if classes is not None else scores.shape[1] if scores is not None else 0
    for row in range(count):
        found = result.classifications.add()
        for column in range(width):
            entry = found.classes.add()
            if classes is not None:
                entry.label = _text(classes[row, column])
            if scores is not None:
                entry.score = float(scores[row, column])


def fill_values(result: Any, arrays: dict[str, Array], count: int) -> None:
    """Writes values, [N] or [N, 1], into a RegressionResult of N = `count` entries; raises as `fill_classes`."""
    values = arrays[VALUES]
    if not (values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1)):
        raise InvalidArgumentError(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {list(values.shape)}"
        )
    if values.shape[0] != count:
        raise InvalidArgumentError(f"Input batch size did not match output batch size: {count} vs. {values.shape[0]}")
    _check_dtype(values, "output", types_pb2.DT_FLOAT)
    for value in values.ravel().tolist():
        result.regressions.add().value = value


def _check(array: Array, alias: str, dtype: int, count: int) -> None:
    if array.ndim != 2:
        raise InvalidArgumentError(f"Expected Tensor shape: [batch_size num_classes] but got {list(array.shape)}")
    _check_dtype(array, alias, dtype)
    if array.shape[0] != count:
        raise InvalidArgumentError(f"Expected {alias} output batch size of {count}. Got: {array.shape[0]}")


def _check_dtype(array: Array, alias: str, dtype: int) -> None:
    found = data_type(array)
    if found != dtype:
        raise InvalidArgumentError(f"Expected {alias} Tensor of {dtype_name(dtype)}. Got: {dtype_name(found)}")


def _text(value: Any) -> str:
    raw = value if isinstance(value, bytes) else np.asarray(value).tobytes()
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InternalError(f"A class label is not UTF-8: {raw!r}") from error
