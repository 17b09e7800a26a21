"""Damaged tensors: each means to this server what it means to TensorFlow, and harms no other call."""

import concurrent.futures
from typing import Any

import grpc
import pytest

pytestmark = pytest.mark.slow


def floats(tf: Any, shape: tuple[int, ...], *values: float) -> Any:
    proto = tf.make_tensor_proto(0.0)
    proto.float_val[:] = values
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    return proto


@pytest.mark.parametrize(
    ("values", "expected"), [((), [0.0, 0.0]), ((1.0,), [1.0, 1.0]), ((1.0, 2.0, 3.0), [1.0, 2.0])]
)
def test_too_few_and_too_many_values_mean_what_tensorflow_makes_of_them(
    tf: Any, values: tuple[float, ...], expected: list[float]
) -> None:
    from tastemaker_modelserver.tensors import decode

    proto = floats(tf, (2,), *values)
    assert tf.io.parse_tensor(proto.SerializeToString(), tf.float32).numpy().tolist() == expected
    assert decode(proto, "x").tolist() == expected


def test_what_one_call_sends_too_much_never_reaches_another(tf: Any) -> None:
    from tastemaker_modelserver.tensors import concatenate

    surplus, repeated = floats(tf, (1, 1), 1.0, 2.0), floats(tf, (2, 1), 3.0)
    assert concatenate([surplus, repeated], "x").tolist() == [[1.0], [3.0], [3.0]]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
def test_small_integers_out_of_range_wrap_as_in_tensorflow(tf: Any, dtype: str) -> None:
    from tastemaker_modelserver.tensors import concatenate, decode

    proto = tf.make_tensor_proto([0, 0, 0, 0], dtype=dtype)
    proto.ClearField("tensor_content")
    proto.int_val[:] = [300, -1, 70_000, -70_000]
    wrapped = tf.io.parse_tensor(proto.SerializeToString(), dtype).numpy().tolist()
    assert decode(proto, "x").tolist() == wrapped
    assert concatenate([proto, proto], "x").tolist() == wrapped * 2
    del proto.int_val[2:]  # the last one also fills the rest
    assert decode(proto, "x").tolist() == tf.io.parse_tensor(proto.SerializeToString(), dtype).numpy().tolist()


def test_long_strings_survive_their_content_encoding(tf: Any) -> None:
    import numpy as np
    from tensorflow.core.framework import tensor_pb2

    from tastemaker_modelserver.tensors import decode, encode_into

    strings = [b"", b"x" * 127, b"y" * 128, b"z" * 70_000]
    proto = tensor_pb2.TensorProto()
    encode_into(proto, np.array(strings, dtype=np.object_), as_content=True)
    assert decode(proto, "x").tolist() == strings
    assert tf.io.parse_tensor(proto.SerializeToString(), tf.string).numpy().tolist() == strings


def test_negative_sizes_are_invalid_for_every_caller_and_end_no_worker(standard: Any, ask: Any, tf: Any) -> None:
    damaged = ask.predict("affine", x=floats(tf, (-1, -2), 1.0, 2.0))

    def code(_: int) -> tuple[grpc.StatusCode, str]:
        failure: tuple[grpc.StatusCode, str] = ask.failure(lambda: standard.prediction.Predict(damaged, timeout=20))
        return failure

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = set(pool.map(code, range(128)))
    assert answers == {
        (grpc.StatusCode.INVALID_ARGUMENT, "tensor parsing error: x: shape [-1, -2] has a negative size")
    }
    response = standard.prediction.Predict(ask.predict("affine", x=[[2.0]]), timeout=10)
    assert list(response.outputs["y"].float_val) == [3.0]
