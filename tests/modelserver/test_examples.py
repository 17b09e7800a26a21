"""Classify, Regress and MultiInference over real gRPC, with the official stubs."""

from typing import Any

import grpc
import pytest

pytestmark = pytest.mark.slow

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def add_examples(target: Any, *values: float) -> None:
    for value in values:
        target.example_list.examples.add().features.feature["x"].float_list.value.append(value)


def test_classify_scores_each_example(standard: Any) -> None:
    from tensorflow_serving.apis import classification_pb2

    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "affine", "classify"
    add_examples(request.input, 2.0, 4.0)
    response = standard.prediction.Classify(request, timeout=10)
    assert [found.classes[0].score for found in response.result.classifications] == [3.0, 4.0]
    assert (response.model_spec.version.value, response.model_spec.signature_name) == (123, "classify")


def test_regress_takes_a_shared_context(standard: Any) -> None:
    from tensorflow_serving.apis import regression_pb2

    request = regression_pb2.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = "affine", "regress"
    shared = request.input.example_list_with_context
    shared.context.features.feature["x"].float_list.value.append(6.0)
    shared.examples.add()
    shared.examples.add().features.feature["x"].float_list.value.append(2.0)
    response = standard.prediction.Regress(request, timeout=10)
    assert [found.value for found in response.result.regressions] == [5.0, 3.0]


def test_multi_inference_runs_several_signatures(standard: Any) -> None:
    from tensorflow_serving.apis import inference_pb2

    request = inference_pb2.MultiInferenceRequest()
    for signature, method in (("regress", REGRESS), ("classify", CLASSIFY)):
        task = request.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = "affine", signature
    add_examples(request.input, 2.0)
    regressed, classified = standard.prediction.MultiInference(request, timeout=10).results
    assert regressed.regression_result.regressions[0].value == 3.0
    assert classified.classification_result.classifications[0].classes[0].score == 3.0
    assert classified.model_spec.signature_name == "classify"


@pytest.mark.parametrize(
    ("signature", "examples", "message"),
    [
        ("nowhere", [1.0], "No signature was found with the name: nowhere"),
        ("regress", [], "Input is empty."),
        ("classify", [1.0], "No regression outputs found in SignatureDef: expected 'outputs'"),
    ],
)
def test_a_request_that_cannot_run_is_invalid(
    standard: Any, ask: Any, signature: str, examples: list[float], message: str
) -> None:
    from tensorflow_serving.apis import regression_pb2

    request = regression_pb2.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = "affine", signature
    add_examples(request.input, *examples)
    assert ask.failure(lambda: standard.prediction.Regress(request, timeout=10)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        message,
    )


@pytest.mark.parametrize(
    ("tasks", "code", "message"),
    [
        ([("affine", "regress", "other/method")], grpc.StatusCode.UNIMPLEMENTED, "Unsupported signature method_name"),
        ([("affine", "regress", REGRESS)] * 2, grpc.StatusCode.INVALID_ARGUMENT, "Duplicate evaluation of signature"),
        (
            [("affine", "regress", REGRESS), ("ranker", "recommend", REGRESS)],
            grpc.StatusCode.INVALID_ARGUMENT,
            "must access the same model name",
        ),
        ([], grpc.StatusCode.INVALID_ARGUMENT, "at least one task"),
    ],
)
def test_multi_inference_refuses_tasks_that_do_not_fit(
    standard: Any, ask: Any, tasks: list[tuple[str, str, str]], code: grpc.StatusCode, message: str
) -> None:
    from tensorflow_serving.apis import inference_pb2

    request = inference_pb2.MultiInferenceRequest()
    for name, signature, method in tasks:
        task = request.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = name, signature
    add_examples(request.input, 2.0)
    found, details = ask.failure(lambda: standard.prediction.MultiInference(request, timeout=10))
    assert found is code
    assert message in details
