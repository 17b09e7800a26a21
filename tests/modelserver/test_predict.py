"""Predict, metadata and status over real gRPC, with the official stubs."""

import concurrent.futures
from pathlib import Path
from typing import Any

import grpc
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(start_server: Any, models: Any, write_config: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    base = tmp_path_factory.mktemp("models")
    models.affine(base / "affine" / "00000123")
    models.ranker(base / "ranker" / "1")
    config = write_config(base / "models.config", {name: base / name for name in ("affine", "ranker")})
    return start_server(f"--model_config_file={config}", "--enable_grpc_healthcheck_service")


@pytest.fixture(scope="module")
def affine(tf: Any) -> Any:
    from tensorflow_serving.apis import predict_pb2

    def request(values: Any, **spec: Any) -> Any:
        made = predict_pb2.PredictRequest()
        made.model_spec.name = spec.pop("name", "affine")
        made.model_spec.signature_name = spec.pop("signature", "")
        made.inputs["x"].CopyFrom(tf.make_tensor_proto(values, dtype=spec.pop("dtype", tf.float32)))
        made.output_filter.extend(spec.pop("outputs", []))
        return made

    return request


@pytest.fixture(scope="module")
def recommend(tf: Any) -> Any:
    from tensorflow_serving.apis import predict_pb2

    def request(history: list[str], exclude: list[str], k: int, *, scalar: bool = False) -> Any:
        made = predict_pb2.PredictRequest()
        made.model_spec.name = "ranker"
        made.model_spec.signature_name = "recommend"
        made.inputs["history"].CopyFrom(tf.make_tensor_proto([history]))
        made.inputs["exclude"].CopyFrom(tf.make_tensor_proto([exclude]))
        made.inputs["k"].CopyFrom(tf.make_tensor_proto(k if scalar else [k], dtype=tf.int32))
        return made

    return request


def code_of(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    return error.code(), error.details()


def test_predict_answers_with_the_effective_version_and_signature(server: Any, affine: Any) -> None:
    response = server.prediction.Predict(affine([[2.0], [4.0]]), timeout=10)
    assert list(response.outputs["y"].float_val) == [3.0, 4.0]
    assert not response.outputs["y"].tensor_content
    assert response.model_spec.version.value == 123
    assert response.model_spec.signature_name == "serving_default"


def test_an_unknown_model_is_not_found(server: Any, affine: Any) -> None:
    code, details = code_of(lambda: server.prediction.Predict(affine([[1.0]], name="other"), timeout=10))
    assert code is grpc.StatusCode.NOT_FOUND
    assert "Servable not found for request: Latest(other)" in details


def test_a_wrong_dtype_says_what_was_sent_and_expected(server: Any, affine: Any, tf: Any) -> None:
    code, details = code_of(lambda: server.prediction.Predict(affine([[1]], dtype=tf.int32), timeout=10))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "expects float, int32 was sent" in details


def test_status_lists_the_available_version(server: Any) -> None:
    from tensorflow_serving.apis import get_model_status_pb2

    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "affine"
    (status,) = server.model.GetModelStatus(request, timeout=10).model_version_status
    assert (status.version, status.state, status.status.error_code) == (123, 30, 0)


def test_metadata_holds_the_signatures(server: Any) -> None:
    from tensorflow_serving.apis import get_model_metadata_pb2

    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "affine"
    response = server.prediction.GetModelMetadata(request, timeout=10)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) >= {"serving_default", "classify", "regress"}


def test_concurrent_calls_each_get_their_own_answer(server: Any, recommend: Any) -> None:
    def best(number: int) -> tuple[bytes, int]:
        k = 1 + number % 3
        history = [f"i{number % 20}", "", f"i{number % 20}"]
        response = server.prediction.Predict(recommend(history, ["", ""], k, scalar=number % 2 == 0), timeout=30)
        return response.outputs["item_id"].string_val[0], len(response.outputs["item_id"].string_val)

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(best, range(200)))
    assert answers == [(f"i{number % 20}".encode(), 1 + number % 3) for number in range(200)]


def test_health_is_serving(server: Any) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub = health_pb2_grpc.HealthStub(server.channel)
    for name in ("", "ModelService", "PredictionService"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_taken_port_is_one_line_on_stderr(server: Any, start_server: Any, tmp_path: Path) -> None:
    second = start_server(f"--port={server.port}", f"--model_base_path={tmp_path}", wait=False)
    assert second.process.wait(30) == 1
    (line,) = second.output().splitlines()
    assert f"--port={server.port}: cannot listen there" in line
