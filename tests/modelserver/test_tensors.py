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


def test_a_value_out_of_range_is_invalid(tf: Any) -> None:
    from tastemaker_modelserver.errors import InvalidArgumentError
    from tastemaker_modelserver.tensors import decode

    proto = tf.make_tensor_proto(0, dtype=tf.int8)
    proto.int_val[:] = [300]
    with pytest.raises(InvalidArgumentError, match="tensor parsing error: x: "):
        decode(proto, "x")


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
