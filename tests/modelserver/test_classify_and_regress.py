"""Classify and Regress on a model with labels, and on signatures that do not fit the call."""

from typing import Any

import grpc
import pytest

pytestmark = pytest.mark.slow


def pairs(result: Any) -> list[list[tuple[str, float]]]:
    return [[(found.label, found.score) for found in entry.classes] for entry in result.classifications]


def classify(server: Any, request: Any) -> Any:
    return server.prediction.Classify(request, timeout=30)


def regress(server: Any, request: Any) -> Any:
    return server.prediction.Regress(request, timeout=30)


def test_classify_pairs_labels_with_scores_and_names_the_default_signature(people: Any, ask: Any) -> None:
    response = classify(people, ask.classification("people", {"who": "né", "x": 0.25}, {}))
    assert pairs(response.result) == [[("né", 0.25), ("others", 0.75)], [("nobody", 0.5), ("others", 0.5)]]
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("people", 7, "serving_default")


def test_scores_alone_have_no_labels_and_labels_alone_score_nothing(standard: Any, people: Any, ask: Any) -> None:
    response = classify(standard, ask.classification("affine", {"x": 2.0}, {"x": 4.0}, signature="classify"))
    assert pairs(response.result) == [[("", 3.0)], [("", 4.0)]]
    assert (response.model_spec.version.value, response.model_spec.signature_name) == (123, "classify")
    response = classify(people, ask.classification("people", {"who": "a"}, signature="labels"))
    assert pairs(response.result) == [[("a", 0.0), ("others", 0.0)]]


def test_a_context_fills_in_what_an_example_leaves_out(people: Any, ask: Any) -> None:
    request = ask.classification("people", {"x": 0.25}, {"who": "b", "x": 1.0}, context={"who": "a"})
    assert pairs(classify(people, request).result) == [[("a", 0.25), ("others", 0.75)], [("b", 1.0), ("others", 0.0)]]
    response = regress(people, ask.regression("people", {}, {"x": 0.25}, signature="value", context={"x": 0.75}))
    assert [found.value for found in response.result.regressions] == [0.75, 0.25]
    assert (response.model_spec.version.value, response.model_spec.signature_name) == (7, "value")


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("value", "Expected classification signature outputs to contain at least one of"),
        ("nameless", "Expected classification signature outputs to contain at least one of"),
        ("flat", "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        ("swapped", "Expected classes Tensor of string. Got: float"),
        ("uneven", "Tensors class and score should match in dim_size(1). Got 2 vs. 1"),
        ("few", "Expected scores output batch size of 2. Got: 1"),
        ("own_method", "No classification inputs found in SignatureDef"),
        ("nowhere", "No signature was found with the name: nowhere"),
    ],
)
def test_classify_refuses_what_is_no_classification(people: Any, ask: Any, signature: str, message: str) -> None:
    code, details = ask.failure(lambda: classify(people, ask.classification("people", {}, {}, signature=signature)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message in details


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("", "Expected one output Tensor"),
        ("labels", "No regression outputs found in SignatureDef: expected 'outputs'"),
        ("wide", "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2, 2]"),
        ("texts", "Expected output Tensor of float. Got: string"),
        ("two_inputs", "Expected one input Tensor"),
        ("renamed_input", "No regression inputs found in SignatureDef"),
        ("nowhere", "No signature was found with the name: nowhere"),
    ],
)
def test_regress_refuses_what_is_no_regression(people: Any, ask: Any, signature: str, message: str) -> None:
    code, details = ask.failure(lambda: regress(people, ask.regression("people", {}, {}, signature=signature)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message in details


def test_an_input_without_examples_is_invalid(people: Any, ask: Any) -> None:
    empty = (grpc.StatusCode.INVALID_ARGUMENT, "Input is empty.")
    assert ask.failure(lambda: classify(people, ask.classification("people"))) == empty
    assert ask.failure(lambda: regress(people, ask.regression("people", signature="value", context={}))) == empty


def test_a_missing_model_spec_or_a_feature_of_another_type_is_invalid(people: Any, ask: Any) -> None:
    classification, regression = ask.classification("people", {}), ask.regression("people", {})
    for call, request in ((people.prediction.Classify, classification), (people.prediction.Regress, regression)):
        request.ClearField("model_spec")
        assert ask.failure(lambda: call(request, timeout=10)) == (  # noqa: B023  # called before the next turn
            grpc.StatusCode.INVALID_ARGUMENT,
            "Missing ModelSpec",
        )
    code, details = ask.failure(lambda: regress(people, ask.regression("people", {"x": "text"}, signature="value")))
    assert (code, "Data types don't match" in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)
