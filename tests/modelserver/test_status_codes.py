"""What a request that cannot work is told, and the encodings of one that can.

`test_predict` has the wrong names, versions, labels and filters of Predict.
"""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

pytestmark = pytest.mark.slow

DTYPES = ("float32", "float64", "float16", "int8", "uint8", "int16", "int32", "int64", "bool", "string")


def write_echo(tf: Any, folder: Any) -> None:
    """A model that returns its inputs, one per dtype and named after it, [B] each."""

    class Echo(tf.Module):  # type: ignore[name-defined,misc]
        @tf.function(input_signature=[tf.TensorSpec([None], name, name=name) for name in DTYPES])
        def echo(self, *inputs: Any) -> dict[str, Any]:
            return {name: tf.identity(given) for name, given in zip(DTYPES, inputs, strict=True)}

    module = Echo()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.echo})


@pytest.fixture(scope="module", params=[False, True], ids=["typed", "content"])
def echo(
    request: pytest.FixtureRequest, start_server: Any, tf: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, bool]]:
    """A server of the echo model, and whether it answers in tensor_content."""
    base = tmp_path_factory.mktemp("echo")
    write_echo(tf, base / "1")
    flag = str(request.param).lower()
    server = start_server(
        "--model_name=echo", f"--model_base_path={base}", f"--enable_serialization_as_tensor_content={flag}"
    )
    yield server, request.param
    server.stop()


STRINGS = b"\x03\x00\x02one\xff\x00"
"""The content of `values("string")` as TensorFlow's C++ packs it: the lengths, then the bytes."""


def values(np: Any, dtype: str) -> Any:
    if dtype == "string":
        return np.array([b"one", b"", b"\xff\x00"], dtype=np.object_)
    return np.array([0, 1, 0] if dtype == "bool" else [3, 0, 100], dtype=dtype)


@pytest.mark.parametrize("packed", [False, True], ids=["sent-typed", "sent-as-content"])
def test_every_dtype_comes_back_in_the_encoding_that_the_flag_chose(
    echo: tuple[Any, bool], ask: Any, tf: Any, packed: bool
) -> None:
    import numpy as np
    from tensorflow_serving.apis import predict_pb2

    server, as_content = echo
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "echo"
    for dtype in DTYPES:
        array = values(np, dtype)
        proto = request.inputs[dtype]
        proto.dtype = tf.as_dtype(dtype).as_datatype_enum
        proto.tensor_shape.dim.add().size = 3
        if packed:
            proto.tensor_content = STRINGS if dtype == "string" else array.tobytes()
        else:
            typed_field(proto).extend(array.view(np.uint16).tolist() if dtype == "float16" else array.tolist())
    response = server.prediction.Predict(request, timeout=10)
    assert set(response.outputs) == set(DTYPES)
    for dtype in DTYPES:
        proto = response.outputs[dtype]
        assert proto.dtype == tf.as_dtype(dtype).as_datatype_enum
        assert [dim.size for dim in proto.tensor_shape.dim] == [3]
        assert bool(proto.tensor_content) == as_content
        assert len(typed_field(proto)) == (0 if as_content else 3)
        if as_content and dtype == "string":  # TensorFlow's Python reads no such content
            assert proto.tensor_content == STRINGS
        else:
            np.testing.assert_array_equal(tf.make_ndarray(proto), values(np, dtype))


def typed_field(proto: Any) -> Any:
    """The `*_val` field that belongs to a TensorProto's dtype."""
    from tensorflow.core.framework import types_pb2

    names = {
        types_pb2.DT_FLOAT: "float_val",
        types_pb2.DT_DOUBLE: "double_val",
        types_pb2.DT_HALF: "half_val",
        types_pb2.DT_INT64: "int64_val",
        types_pb2.DT_BOOL: "bool_val",
        types_pb2.DT_STRING: "string_val",
    }
    return getattr(proto, names.get(proto.dtype, "int_val"))


def test_every_wrong_dtype_is_named_with_the_one_expected(echo: tuple[Any, bool], ask: Any, tf: Any) -> None:
    import numpy as np

    server, _ = echo
    right = {dtype: tf.make_tensor_proto(values(np, dtype), dtype=tf.as_dtype(dtype)) for dtype in DTYPES}
    for dtype, other in zip(DTYPES, (*DTYPES[1:], DTYPES[0]), strict=True):
        request = ask.predict("echo", **{**right, dtype: right[other]})
        code, message = ask.failure(lambda request=request: server.prediction.Predict(request, timeout=10))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        expected, sent = (tensorflow_name(name) for name in (dtype, other))
        assert message.endswith(
            f"input tensor '{dtype}' of signature 'serving_default': expects {expected}, {sent} was sent"
        )


def tensorflow_name(dtype: str) -> str:
    return {"float32": "float", "float64": "double", "float16": "half"}.get(dtype, dtype)


def test_several_missing_and_surplus_inputs_are_all_listed(echo: tuple[Any, bool], ask: Any) -> None:
    server, _ = echo
    code, message = ask.failure(
        lambda: server.prediction.Predict(ask.predict("echo", float32=[1.0], b=[1.0], a=[1.0]), timeout=10)
    )
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "3!=10 " in message
    missing = ",".join(sorted(set(DTYPES) - {"float32"}))
    assert message.endswith(f"Sent extra: {{a,b}}. Missing but required: {{{missing}}}.")


def test_the_runtimes_own_message_reaches_the_caller(standard: Any, ask: Any) -> None:
    code, message = ask.failure(lambda: standard.prediction.Predict(ask.recommend(["i1"], [""], 21), timeout=10))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "input must have at least k columns. Had 20, needed 21" in message


@pytest.mark.parametrize(
    ("spec", "field", "code", "message"),
    [
        (None, "signature_def", grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec"),
        (
            {"name": "affine"},
            "",
            grpc.StatusCode.INVALID_ARGUMENT,
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (
            {"name": "other"},
            "signature_def",
            grpc.StatusCode.NOT_FOUND,
            "Servable not found for request: Latest(other)",
        ),
        (
            {"name": "affine", "version": {"value": 5}},
            "signature_def",
            grpc.StatusCode.NOT_FOUND,
            "Servable not found for request: Specific(affine, 5)",
        ),
        (
            {"name": "affine", "version_label": "canary"},
            "signature_def",
            grpc.StatusCode.INVALID_ARGUMENT,
            "Unrecognized servable version label: canary",
        ),
    ],
)
def test_metadata_of_a_bad_address_says_what_was_asked(
    standard: Any, ask: Any, spec: dict[str, Any] | None, field: str, code: grpc.StatusCode, message: str
) -> None:
    from google.protobuf import json_format
    from tensorflow_serving.apis import get_model_metadata_pb2

    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=[field] if field else [])
    if spec is not None:
        fields = dict(spec)
        if "version" in fields:
            request.model_spec.version.value = fields.pop("version")["value"]
        json_format.ParseDict(fields, request.model_spec)
    assert ask.failure(lambda: standard.prediction.GetModelMetadata(request, timeout=10)) == (code, message)


def test_a_status_request_without_a_model_spec_is_invalid(standard: Any, ask: Any) -> None:
    from tensorflow_serving.apis import get_model_status_pb2

    request = get_model_status_pb2.GetModelStatusRequest()
    assert ask.failure(lambda: standard.model.GetModelStatus(request, timeout=10)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Missing ModelSpec",
    )


def test_an_unknown_method_is_unimplemented(standard: Any, ask: Any) -> None:
    call: Callable[..., bytes] = standard.channel.unary_unary("/tensorflow.serving.PredictionService/Guess")
    assert ask.failure(lambda: call(b"", timeout=10))[0] is grpc.StatusCode.UNIMPLEMENTED


def test_a_deadline_ends_its_own_call_and_no_neighbour(standard: Any, ask: Any, tf: Any) -> None:
    steps = tf.make_tensor_proto(3e5, dtype=tf.float32)
    request = ask.predict("spinner", x=[5.0], n=steps)  # the same steps: they may share a run
    patient = [standard.prediction.Predict.future(request, timeout=60) for _ in range(4)]
    hasty = [standard.prediction.Predict.future(request, timeout=0.2) for _ in range(4)]
    assert {ask.failure(call.result)[0] for call in hasty} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert [list(call.result().outputs["y"].float_val) for call in patient] == [[5.0]] * 4
