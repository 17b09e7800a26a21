"""A model's signatures: checking a request against one, and telling which requests may share a run.

Everything here works on protos and shapes; it neither decodes a tensor's values, but for tiny ones, nor runs anything.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from tensorflow.core.framework import types_pb2

from tastemaker_modelserver.errors import InvalidArgumentError
from tastemaker_modelserver.tensors import decode, shape_of

__all__ = ["Grouping", "Input", "Output", "Rule", "Signature", "join_names"]

_SMALL_VALUES = 256
"""The most values an input of unknown rank may hold to be compared with others'."""


@dataclass(frozen=True)
class Input:
    """One named input of a signature."""

    alias: str
    tensor_name: str
    dtype: int
    rank: int | None
    """None: unknown."""
    batched: bool
    """Its rank is known and dimension 0 is not: rows can be put one after another."""
    default: Any = None
    """A TensorProto for requests that leave the input out, or None."""


@dataclass(frozen=True)
class Output:
    """One named output of a signature."""

    alias: str
    tensor_name: str
    batched: bool


class Rule(Enum):
    """What the owner of the server has said about batching."""

    CAUTIOUS = "cautious"
    """Nothing: only what the signature declares open is put together."""
    TRUSTING = "trusting"
    """Batch: an undeclared rank does not matter, every tensor's first dimension is the batch."""
    LENIENT = "lenient"
    """Batch and pad: nor do the other dimensions have to agree."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """How a request may share a run with others."""

    key: Hashable
    """Requests with equal keys may be concatenated along axis 0."""
    rows: int
    """This request's share of axis 0."""


@dataclass(frozen=True)
class Signature:
    """One SignatureDef, with its inputs and outputs sorted by alias."""

    name: str
    method_name: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]

    @classmethod
    def from_proto(cls, name: str, proto: Any) -> "Signature":
        """Reads a `tensorflow.SignatureDef`."""
        return cls(
            name=name,
            method_name=proto.method_name,
            inputs=tuple(_input(alias, info, proto.defaults) for alias, info in sorted(proto.inputs.items())),
            outputs=tuple(
                Output(alias, info.name, _rank(info.tensor_shape) is not None and _is_open(info.tensor_shape))
                for alias, info in sorted(proto.outputs.items())
            ),
        )

    def arrange(self, sent: Mapping[str, Any]) -> list[Any]:
        """The request's TensorProtos in the order of `inputs`.

        Raises:
            InvalidArgumentError: An input is missing, surplus or of another dtype; the text says what was sent and
            expected.
        """
        arranged: list[Any] = []
        known = 0
        for expected in self.inputs:
            proto = sent.get(expected.alias)
            if proto is not None:
                known += 1
            elif (proto := expected.default) is None:
                raise self._input_mismatch(sent)
            if proto.dtype != expected.dtype:
                raise InvalidArgumentError(
                    f"input tensor {expected.alias!r} of signature {self.name!r}: "
                    f"expects {dtype_name(expected.dtype)}, {dtype_name(proto.dtype)} was sent"
                )
            arranged.append(proto)
        if known != len(sent):
            raise self._input_mismatch(sent)
        return arranged

    def select(self, output_filter: Sequence[str]) -> tuple[Output, ...]:
        """The outputs to compute: those named, or all.

        Raises:
            InvalidArgumentError: A name is unknown or repeated.
        """
        if not output_filter:
            return self.outputs
        known = {output.alias: output for output in self.outputs}
        chosen: dict[str, Output] = {}
        for alias in output_filter:
            if alias not in known:
                raise InvalidArgumentError(
                    f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                    f"{join_names(known)}."
                )
            if alias in chosen:
                raise InvalidArgumentError(f"duplicate output tensor alias: {alias}")
            chosen[alias] = known[alias]
        return tuple(chosen[alias] for alias in sorted(chosen))

    def grouping(self, arranged: Sequence[Any], outputs: tuple[Output, ...], rule: Rule) -> Grouping | None:
        """How this request may share a run; None: it runs alone.

        Rows are put one after another where the signature leaves dimension 0 open, in inputs and outputs alike. An
        input that is a scalar, or whose rank the signature does not tell, groups only with an equal value: it may
        steer the whole run (a `k`, a flag), and grouping must never change a result.
        """
        cautious = rule is Rule.CAUTIOUS
        if cautious:
            whole = outputs is self.outputs
            open_outputs = self._all_outputs_have_rows if whole else all(out.batched for out in outputs)
            if not (self._has_rows and open_outputs):
                return None
        rows: int | None = None
        parts: list[Hashable] = []
        for expected, proto in zip(self.inputs, arranged, strict=True):
            shape = shape_of(proto)
            if expected.batched or (shape and not cautious):
                if not shape:
                    return None  # a scalar where rows are expected: let the model say so
                part: Hashable = len(shape) if rule is Rule.LENIENT else shape[1:]
            elif expected.rank == 0 or (expected.rank is None and not shape):
                parts.append((0, proto.SerializeToString(deterministic=True)))
                continue
            elif expected.rank is None:
                part = _uniform_value(proto, shape, expected.alias)
                if part is None:
                    return None
            else:
                return None  # a fixed dimension 0
            if rows is not None and rows != shape[0]:
                return None
            rows = shape[0]
            parts.append(part)
        filtered = None if outputs is self.outputs else tuple(output.alias for output in outputs)
        return Grouping((self.name, filtered, *parts), rows) if rows else None

    @cached_property
    def _has_rows(self) -> bool:
        return any(given.batched for given in self.inputs)

    @cached_property
    def _all_outputs_have_rows(self) -> bool:
        return all(output.batched for output in self.outputs)

    @cached_property
    def _aliases(self) -> frozenset[str]:
        return frozenset(given.alias for given in self.inputs)

    def _input_mismatch(self, sent: Mapping[str, Any]) -> InvalidArgumentError:
        required = {given.alias for given in self.inputs if given.default is None}
        expected = self._aliases
        return InvalidArgumentError(
            f"input size does not match signature: {len(sent)}!={len(expected)} len({join_names(sent)}) != "
            f"len({join_names(expected)}). Sent extra: {join_names(set(sent) - expected)}. "
            f"Missing but required: {join_names(required - set(sent))}."
        )


def join_names(names: Any) -> str:
    """`{a,b}`, sorted, as TensorFlow Serving lists names in its messages."""
    return "{" + ",".join(sorted(names)) + "}"


def dtype_name(number: int) -> str:
    """`float`, `int64`, `string`: a DataType as TensorFlow's messages call it."""
    try:
        return str(types_pb2.DataType.Name(number)).removeprefix("DT_").lower()
    except ValueError:
        return f"unknown type {number}"


def _input(alias: str, info: Any, defaults: Mapping[str, Any]) -> Input:
    rank = _rank(info.tensor_shape)
    return Input(
        alias=alias,
        tensor_name=info.name,
        dtype=info.dtype,
        rank=rank,
        batched=rank is not None and _is_open(info.tensor_shape),
        default=defaults.get(alias),
    )


def _rank(shape: Any) -> int | None:
    return None if shape.unknown_rank else len(shape.dim)


def _is_open(shape: Any) -> bool:
    return len(shape.dim) > 0 and shape.dim[0].size < 0


def _uniform_value(proto: Any, shape: tuple[int, ...], alias: str) -> Hashable | None:
    """The one value that every element of a small tensor has, with its dimensions after the first, or None."""
    if shape == (1,) and len(proto.int_val) == 1:  # a `k` as our own front sends it
        return (), proto.int_val[0]
    size = 1
    for dimension in shape:
        size *= dimension
    if not 0 < size <= _SMALL_VALUES:
        return None
    try:
        values = decode(proto, alias).ravel().tolist()
    except InvalidArgumentError:
        return None  # the run itself tells its caller
    return (shape[1:], values[0]) if values.count(values[0]) == len(values) else None
