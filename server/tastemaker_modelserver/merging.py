"""Several jobs' tensors as one batch, and the batch's results back to each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tastemaker_modelserver.errors import FailedPreconditionError
from tastemaker_modelserver.signatures import Signature
from tastemaker_modelserver.tensors import Array, concatenate, decode, shape_of

__all__ = ["NO_PADDING", "Padding", "merge", "split"]


@dataclass(frozen=True)
class Padding:
    """How a batch is padded before it runs."""

    allowed_rows: tuple[int, ...] = ()
    """Batches are filled up to the next of these sizes, ascending. Empty: any size runs. A session runs any size
    without tracing anew, so that the adaptive batcher pads nothing: filling up to powers of two cost 14 % of the
    throughput."""
    variable_length: bool = False
    """Inputs that differ in other dimensions than the first are padded to the longest, with their own first value."""


NO_PADDING = Padding()


def merge(
    signature: Signature, inputs: Sequence[Sequence[Any]], rows: int, padding: Padding
) -> tuple[dict[str, Array], int]:
    """Puts the inputs of several jobs together.

    Args:
        signature: The jobs' signature.
        inputs: Per job, its TensorProtos in the order of the signature's inputs, [B_j, ...] each, or equal scalars.
        rows: The sum of B_j.
        padding: How to pad.

    Returns:
        Tensor name → array [R, ...], and R, which is `rows` and any rows of padding.

    Raises:
        InvalidArgumentError: A TensorProto is damaged.
    """
    total = next((allowed for allowed in padding.allowed_rows if allowed >= rows), rows)
    feeds: dict[str, Array] = {}
    for position, given in enumerate(signature.inputs):
        protos = [sent[position] for sent in inputs]
        if not protos[0].tensor_shape.dim:
            feeds[given.tensor_name] = decode(protos[0], given.alias)
            continue
        batch = _padded(protos, given.alias) if padding.variable_length else concatenate(protos, given.alias)
        if total > rows:  # any real row is a valid input
            batch = np.concatenate([batch, np.repeat(batch[-1:], total - rows, axis=0)])
        feeds[given.tensor_name] = batch
    return feeds, total


def split(arrays: Sequence[Array], rows: Sequence[int], total: int) -> list[list[Array]]:
    """Per job, its rows of each output: [R, ...] → [B_j, ...].

    Raises:
        FailedPreconditionError: An output does not have one row per row of the inputs.
    """
    for array in arrays:
        if array.ndim == 0:
            raise FailedPreconditionError("Batched output tensor has 0 dimensions")
        if array.shape[0] != total:
            raise FailedPreconditionError(
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors"
            )
    shares: list[list[Array]] = []
    start = 0
    for count in rows:
        shares.append([array[start : start + count] for array in arrays])
        start += count
    return shares


def _padded(protos: Sequence[Any], alias: str) -> Array:
    """[B_j, L_j, ...] each → [sum of B_j, max of L_j, ...]."""
    longest = tuple(max(sizes) for sizes in zip(*(shape_of(proto)[1:] for proto in protos), strict=True))
    parts: list[Array] = []
    for proto in protos:
        array = decode(proto, alias)
        if array.shape[1:] != longest and array.size:
            whole = np.full((array.shape[0], *longest), array.flat[0], dtype=array.dtype)
            whole[tuple(slice(size) for size in array.shape)] = array
            array = whole
        parts.append(array)
    return np.concatenate(parts)
