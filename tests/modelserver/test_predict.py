"""Predict, metadata, status and health over real gRPC, with the official stubs."""

import concurrent.futures
from typing import Any

import grpc
import pytest

pytestmark = pytest.mark.slow


def test_predict_answers_with_the_effective_version_and_signature(standard: Any, ask: Any) -> None:
    response = standard.prediction.Predict(ask.predict("affine", x=[[2.0], [4.0]]), timeout=10)
    assert list(response.outputs["y"].float_val) == [3.0, 4.0]
    assert not response.outputs["y"].tensor_content
    assert response.model_spec.version.value == 123
    assert response.model_spec.signature_name == "serving_default"


def test_both_encodings_of_a_tensor_are_accepted(standard: Any, ask: Any, tf: Any) -> None:
    typed = tf.compat.v1.make_tensor_proto([[2.0]])
    typed.ClearField("tensor_content")
    typed.float_val[:] = [2.0]
    content = tf.make_tensor_proto([[2.0], [2.0]])  # two equal values: `make_tensor_proto` packs them
    content.ClearField("float_val")
    content.tensor_content = tf.constant([2.0, 2.0]).numpy().tobytes()
    repeated = tf.make_tensor_proto([[0.0]])
    repeated.CopyFrom(typed)
    repeated.tensor_shape.dim[0].size = 3  # fewer values than elements: the last one is repeated
    for proto, expected in ((typed, [3.0]), (content, [3.0, 3.0]), (repeated, [3.0] * 3)):
        response = standard.prediction.Predict(ask.predict("affine", x=proto), timeout=10)
        assert list(response.outputs["y"].float_val) == expected


def test_strings_are_accepted_as_cpp_clients_pack_them(standard: Any, ask: Any, tf: Any) -> None:
    packed = tf.make_tensor_proto([["x", "x"]])
    packed.ClearField("string_val")
    packed.tensor_content = bytes([2, 2]) + b"i5i7"  # lengths as varints, then the bytes
    request = ask.recommend([], [""], 2)
    request.inputs["history"].CopyFrom(packed)
    response = standard.prediction.Predict(request, timeout=10)
    assert list(response.outputs["item_id"].string_val) == [b"i5", b"i7"]


def test_the_output_filter_selects(standard: Any, ask: Any) -> None:
    request = ask.recommend(["i3"], [""], 1)
    request.output_filter.append("score")
    assert set(standard.prediction.Predict(request, timeout=10).outputs) == {"score"}


@pytest.mark.parametrize(
    ("name", "spec", "code", "message"),
    [
        ("other", {}, grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(other)"),
        ("affine", {"version": 5}, grpc.StatusCode.NOT_FOUND, "Servable not found for request: Specific(affine, 5)"),
        (
            "affine",
            {"label": "canary"},
            grpc.StatusCode.INVALID_ARGUMENT,
            "Unrecognized servable version label: canary",
        ),
        ("affine", {"signature": "s"}, grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "s" not found.'),
        ("", {}, grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (
            "affine",
            {"outputs": ("z",)},
            grpc.StatusCode.INVALID_ARGUMENT,
            "output tensor alias not found in signature: z Outputs expected to be in the set {y}.",
        ),
        ("affine", {"outputs": ("y", "y")}, grpc.StatusCode.INVALID_ARGUMENT, "duplicate output tensor alias: y"),
    ],
)
def test_a_bad_address_says_what_was_asked(
    standard: Any, ask: Any, name: str, spec: dict[str, Any], code: grpc.StatusCode, message: str
) -> None:
    request = ask.predict(name, x=[[1.0]], **spec)
    assert ask.failure(lambda: standard.prediction.Predict(request, timeout=10)) == (code, message)


def test_a_missing_model_spec_is_invalid(standard: Any, ask: Any) -> None:
    request = ask.predict_pb2.PredictRequest()
    assert ask.failure(lambda: standard.prediction.Predict(request, timeout=10)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Missing ModelSpec",
    )


def test_missing_and_surplus_inputs_are_listed(standard: Any, ask: Any) -> None:
    missing = ask.predict("affine")
    surplus = ask.predict("affine", x=[[1.0]], z=[[1.0]])
    code, details = ask.failure(lambda: standard.prediction.Predict(missing, timeout=10))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.endswith("Sent extra: {}. Missing but required: {x}.")
    code, details = ask.failure(lambda: standard.prediction.Predict(surplus, timeout=10))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.endswith("Sent extra: {z}. Missing but required: {}.")


def test_a_wrong_dtype_says_what_was_sent_and_expected(standard: Any, ask: Any) -> None:
    code, details = ask.failure(lambda: standard.prediction.Predict(ask.predict("affine", x=[[1]]), timeout=10))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "input tensor 'x' of signature 'serving_default': expects float, int32 was sent" in details


def test_values_that_do_not_fill_the_shape_are_invalid(standard: Any, ask: Any, tf: Any) -> None:
    proto = tf.make_tensor_proto([[1.0], [2.0]])
    proto.tensor_shape.dim[0].size = 7
    code, details = ask.failure(lambda: standard.prediction.Predict(ask.predict("affine", x=proto), timeout=10))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "tensor parsing error: x" in details


def test_a_label_names_its_version(standard: Any, ask: Any) -> None:
    request = ask.predict("affine", label="stable", x=[[2.0]])
    assert standard.prediction.Predict(request, timeout=10).model_spec.version.value == 123


def test_concurrent_calls_each_get_their_own_answer(standard: Any, ask: Any) -> None:
    def best(number: int) -> tuple[bytes, int]:
        history = [f"i{number % 20}", "", f"i{number % 20}"]
        request = ask.recommend(history, ["", ""], 1 + number % 3, scalar=number % 2 == 0)
        response = standard.prediction.Predict(request, timeout=30)
        return response.outputs["item_id"].string_val[0], len(response.outputs["item_id"].string_val)

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(best, range(200)))
    assert answers == [(f"i{number % 20}".encode(), 1 + number % 3) for number in range(200)]


def test_a_damaged_request_fails_alone_among_its_neighbours(standard: Any, ask: Any, tf: Any) -> None:
    damaged = tf.make_tensor_proto([[1.0], [2.0]])
    damaged.tensor_shape.dim[1].size = 9

    def answer(number: int) -> object:
        x = damaged if number % 10 == 0 else [[float(number)]]
        try:
            return standard.prediction.Predict(ask.predict("affine", x=x), timeout=30).outputs["y"].float_val[0]
        except grpc.RpcError as error:
            return error.code()

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(answer, range(100)))
    bad = grpc.StatusCode.INVALID_ARGUMENT
    assert answers == [bad if number % 10 == 0 else number / 2 + 2 for number in range(100)]


def test_the_callers_deadline_bounds_the_run(standard: Any, ask: Any, until: Any, tf: Any) -> None:
    forever = ask.predict("spinner", x=[1.0], n=tf.make_tensor_proto(1e12, dtype=tf.float32))
    code, _ = ask.failure(lambda: standard.prediction.Predict(forever, timeout=0.5))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    quick = ask.predict("spinner", x=[1.0], n=tf.make_tensor_proto(1.0, dtype=tf.float32))
    # The session of `spinner` has one thread on two cores: it is free again only because the run was ended.
    assert standard.prediction.Predict(quick, timeout=10).outputs["y"].float_val[0] == 1.0


def test_status_lists_the_available_version(standard: Any, ask: Any) -> None:
    assert standard.states("affine") == {123: "AVAILABLE"}


def test_status_of_an_unknown_model_or_version_is_not_found(standard: Any, ask: Any) -> None:
    from tensorflow_serving.apis import get_model_status_pb2

    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "other"
    assert ask.failure(lambda: standard.model.GetModelStatus(request, timeout=10)) == (
        grpc.StatusCode.NOT_FOUND,
        "Could not find any versions of model other",
    )
    request.model_spec.name = "affine"
    request.model_spec.version.value = 9
    assert ask.failure(lambda: standard.model.GetModelStatus(request, timeout=10)) == (
        grpc.StatusCode.NOT_FOUND,
        "Could not find version 9 of model affine",
    )


def test_metadata_holds_the_signatures(standard: Any, ask: Any) -> None:
    from tensorflow_serving.apis import get_model_metadata_pb2

    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "affine"
    response = standard.prediction.GetModelMetadata(request, timeout=10)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) >= {"serving_default", "classify", "regress"}
    assert (response.model_spec.name, response.model_spec.version.value) == ("affine", 123)
    request.metadata_field[:] = ["graph"]
    assert ask.failure(lambda: standard.prediction.GetModelMetadata(request, timeout=10)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Metadata field graph is not supported",
    )


def test_health_is_serving(standard: Any) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub = health_pb2_grpc.HealthStub(standard.channel)
    for name in ("", "ModelService", "PredictionService"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
