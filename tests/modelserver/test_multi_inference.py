"""MultiInference: several signatures of one model in one run, and the order in which a bad request is judged."""

from typing import Any

import grpc
import pytest
from tests.modelserver.saved_models import CLASSIFY, REGRESS

pytestmark = pytest.mark.slow

BAD, UNKNOWN = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED
OTHER = "other/method"


def infer(server: Any, request: Any) -> Any:
    return server.prediction.MultiInference(request, timeout=30)


def test_the_answers_come_in_the_order_of_the_tasks(people: Any, ask: Any) -> None:
    tasks = [("people", "value", REGRESS), ("people", "", CLASSIFY), ("people", "labels", CLASSIFY)]
    results = infer(people, ask.inference(tasks, {"x": 0.25}, {"who": "b"}, context={"who": "a"})).results
    value, both, labels = results
    assert [found.value for found in value.regression_result.regressions] == [0.25, 0.5]
    found = [
        [(entry.label, entry.score) for entry in row.classes] for row in both.classification_result.classifications
    ]
    assert found == [[("a", 0.25), ("others", 0.75)], [("b", 0.5), ("others", 0.5)]]
    assert [row.classes[0].label for row in labels.classification_result.classifications] == ["a", "b"]
    specs = [result.model_spec for result in results]
    assert [spec.signature_name for spec in specs] == ["value", "serving_default", "labels"]
    assert {(spec.name, spec.version.value) for spec in specs} == {("people", 7)}


@pytest.mark.parametrize(
    ("tasks", "code", "message"),
    [
        ([], BAD, "ModelSpec has no name specified."),
        ([("people", "value", REGRESS), ("", "labels", CLASSIFY)], BAD, "Found ModelSpec with an empty model name."),
        ([("people", "value", REGRESS), ("other", "labels", CLASSIFY)], BAD, "must access the same model name"),
        ([("people", "value", REGRESS)] * 2, BAD, "Duplicate evaluation of signature: value"),
        ([("people", "nowhere", REGRESS)], BAD, "Requested signature not found in model graph: nowhere"),
        ([("people", "value", OTHER)], UNKNOWN, f"Unsupported signature method_name: {OTHER}"),
        ([("people", "", CLASSIFY), ("people", "labels", REGRESS)], BAD, "No regression outputs found"),
        ([("people", "", CLASSIFY), ("people", "", REGRESS)], BAD, "Duplicate evaluation of signature"),
    ],
)
def test_one_task_that_does_not_fit_fails_the_whole_call(
    people: Any, ask: Any, tasks: list[tuple[str, str, str]], code: grpc.StatusCode, message: str
) -> None:
    found, details = ask.failure(lambda: infer(people, ask.inference(tasks, {})))
    assert found is code
    assert message in details


@pytest.mark.parametrize(
    ("tasks", "code", "message"),
    [
        ([("people", "value", REGRESS), ("other", "nowhere", OTHER)], BAD, "must access the same model name"),
        ([("people", "value", REGRESS), ("people", "value", OTHER)], BAD, "Duplicate evaluation of signature: value"),
        ([("people", "nowhere", OTHER)], BAD, "Requested signature not found in model graph: nowhere"),
        ([("people", "two_inputs", OTHER)], UNKNOWN, "Unsupported signature method_name"),
        ([("people", "labels", REGRESS), ("other", "value", REGRESS)], BAD, "No regression outputs found"),
    ],
)
def test_of_several_mistakes_tensorflow_servings_first_is_told(
    people: Any, ask: Any, tasks: list[tuple[str, str, str]], code: grpc.StatusCode, message: str
) -> None:
    found, details = ask.failure(lambda: infer(people, ask.inference(tasks)))  # the missing examples come last
    assert found is code
    assert message in details


def test_an_input_without_examples_is_invalid(people: Any, ask: Any) -> None:
    request = ask.inference([("people", "value", REGRESS)])
    assert ask.failure(lambda: infer(people, request)) == (BAD, "Input is empty.")
