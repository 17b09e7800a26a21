"""Classify, Regress and MultiInference on a model with labels, and on signatures that do not fit the call."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

pytestmark = pytest.mark.slow

CLASSIFY, REGRESS, PREDICT = (f"tensorflow/serving/{name}" for name in ("classify", "regress", "predict"))


def save_people(tf: Any, folder: Path) -> None:
    """A TF1-style model over examples with `who` and `x`: two labelled scores, a value, and odd signatures."""
    v1 = tf.compat.v1
    graph = tf.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        serialized = v1.placeholder(tf.string, [None])
        features = {
            "who": v1.FixedLenFeature([], tf.string, default_value="nobody"),
            "x": v1.FixedLenFeature([], tf.float32, default_value=0.5),
        }
        parsed = v1.parse_example(serialized, features)
        who, x = parsed["who"], tf.identity(parsed["x"])  # [B], [B]
        classes = tf.stack([who, tf.fill(tf.shape(who), "others")], axis=1)  # [B, 2]
        scores = tf.stack([x, 1.0 - x], axis=1)  # [B, 2]

        def signature(outputs: dict[str, Any], method: str, given: dict[str, Any] | None = None) -> Any:
            info = v1.saved_model.utils.build_tensor_info
            return v1.saved_model.signature_def_utils.build_signature_def(
                {alias: info(tensor) for alias, tensor in (given or {"inputs": serialized}).items()},
                {alias: info(tensor) for alias, tensor in outputs.items()},
                method,
            )

        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={
                "serving_default": signature({"classes": classes, "scores": scores}, CLASSIFY),
                "labels": signature({"classes": classes}, CLASSIFY),
                "flat": signature({"scores": x}, CLASSIFY),
                "swapped": signature({"classes": scores}, CLASSIFY),
                "uneven": signature({"classes": classes, "scores": scores[:, :1]}, CLASSIFY),
                "few": signature({"scores": scores[:1]}, CLASSIFY),
                "nameless": signature({"other": scores}, CLASSIFY),
                "value": signature({"outputs": x}, REGRESS),
                "wide": signature({"outputs": scores}, REGRESS),
                "texts": signature({"outputs": who}, REGRESS),
                "two_inputs": signature({"outputs": x}, REGRESS, {"inputs": serialized, "x": x}),
                "renamed_input": signature({"outputs": x}, REGRESS, {"examples": serialized}),
                "mislabelled": signature({"outputs": x}, PREDICT),
                "own_method": signature({"y": 2.0 * x}, "own/method", {"x": x}),
            },
        )
        builder.save()


@pytest.fixture(scope="module")
def folder(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("people")
    save_people(tf, base / "7")
    return base


@pytest.fixture(scope="module")
def server(start_server: Any, folder: Path) -> Any:
    return start_server("--model_name=people", f"--model_base_path={folder}")


@pytest.fixture(scope="module")
def strict(start_server: Any, folder: Path) -> Any:
    return start_server("--model_name=people", f"--model_base_path={folder}", "--enable_signature_method_name_check")


def write(features: Any, **values: Any) -> None:
    for name, value in values.items():
        if isinstance(value, str):
            features.feature[name].bytes_list.value.append(value.encode())
        else:
            features.feature[name].float_list.value.append(value)


def fill(target: Any, *rows: dict[str, Any], context: dict[str, Any] | None = None) -> None:
    """Writes a `tensorflow.serving.Input`."""
    if context is not None:
        write(target.example_list_with_context.context.features, **context)
    chosen = target.example_list if context is None else target.example_list_with_context
    for row in rows:
        write(chosen.examples.add().features, **row)


@pytest.fixture(scope="module")
def classify(tf: Any) -> Callable[..., Any]:
    from tensorflow_serving.apis import classification_pb2

    def call(server: Any, *rows: dict[str, Any], signature: str = "", context: dict[str, Any] | None = None) -> Any:
        request = classification_pb2.ClassificationRequest()
        request.model_spec.name, request.model_spec.signature_name = "people", signature
        fill(request.input, *rows, context=context)
        return server.prediction.Classify(request, timeout=30)

    return call


@pytest.fixture(scope="module")
def regress(tf: Any) -> Callable[..., Any]:
    from tensorflow_serving.apis import regression_pb2

    def call(server: Any, *rows: dict[str, Any], signature: str = "value", context: Any = None) -> Any:
        request = regression_pb2.RegressionRequest()
        request.model_spec.name, request.model_spec.signature_name = "people", signature
        fill(request.input, *rows, context=context)
        return server.prediction.Regress(request, timeout=30)

    return call


@pytest.fixture(scope="module")
def infer(tf: Any) -> Callable[..., Any]:
    from tensorflow_serving.apis import inference_pb2

    def call(server: Any, tasks: list[tuple[str, str]], *rows: dict[str, Any], context: Any = None) -> Any:
        request = inference_pb2.MultiInferenceRequest()
        for signature, method in tasks:
            task = request.tasks.add(method_name=method)
            task.model_spec.name, task.model_spec.signature_name = "people", signature
        fill(request.input, *rows, context=context)
        return server.prediction.MultiInference(request, timeout=30)

    return call


def pairs(result: Any) -> list[list[tuple[str, float]]]:
    return [[(found.label, found.score) for found in entry.classes] for entry in result.classifications]


def test_classify_pairs_labels_with_scores_and_names_the_default_signature(server: Any, classify: Any) -> None:
    response = classify(server, {"who": "né", "x": 0.25}, {})
    assert pairs(response.result) == [[("né", 0.25), ("others", 0.75)], [("nobody", 0.5), ("others", 0.5)]]
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("people", 7, "serving_default")


def test_labels_alone_score_nothing(server: Any, classify: Any) -> None:
    assert pairs(classify(server, {"who": "a"}, signature="labels").result) == [[("a", 0.0), ("others", 0.0)]]


def test_a_context_fills_in_what_an_example_leaves_out(server: Any, classify: Any, regress: Any) -> None:
    response = classify(server, {"x": 0.25}, {"who": "b", "x": 1.0}, context={"who": "a"})
    assert pairs(response.result) == [[("a", 0.25), ("others", 0.75)], [("b", 1.0), ("others", 0.0)]]
    values = regress(server, {}, {"x": 0.25}, context={"x": 0.75}).result.regressions
    assert [found.value for found in values] == [0.75, 0.25]


def test_multi_inference_answers_in_the_order_of_the_tasks(server: Any, infer: Any) -> None:
    tasks = [("value", REGRESS), ("", CLASSIFY), ("labels", CLASSIFY)]
    value, both, labels = infer(server, tasks, {"x": 0.25}, {"who": "b"}, context={"who": "a"}).results
    assert [found.value for found in value.regression_result.regressions] == [0.25, 0.5]
    assert pairs(both.classification_result) == [[("a", 0.25), ("others", 0.75)], [("b", 0.5), ("others", 0.5)]]
    assert [entry[0][0] for entry in pairs(labels.classification_result)] == ["a", "b"]
    specs = [found.model_spec for found in (value, both, labels)]
    assert [spec.signature_name for spec in specs] == ["value", "serving_default", "labels"]
    assert {(spec.name, spec.version.value) for spec in specs} == {("people", 7)}


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
    ],
)
def test_classify_refuses_what_is_no_classification(
    server: Any, classify: Any, ask: Any, signature: str, message: str
) -> None:
    code, details = ask.failure(lambda: classify(server, {}, {}, signature=signature))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message in details


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("", "Expected one output Tensor"),
        ("labels", "No regression outputs found in SignatureDef"),
        ("wide", "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2, 2]"),
        ("texts", "Expected output Tensor of float. Got: string"),
        ("two_inputs", "Expected one input Tensor"),
        ("renamed_input", "No regression inputs found in SignatureDef"),
    ],
)
def test_regress_refuses_what_is_no_regression(
    server: Any, regress: Any, ask: Any, signature: str, message: str
) -> None:
    code, details = ask.failure(lambda: regress(server, {}, {}, signature=signature))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message in details


def test_one_task_that_does_not_fit_fails_the_whole_multi_inference(server: Any, infer: Any, ask: Any) -> None:
    tasks = [("", CLASSIFY), ("labels", REGRESS)]
    code, details = ask.failure(lambda: infer(server, tasks, {}))
    assert (code, "No regression outputs found" in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)


def test_a_missing_model_spec_or_a_feature_of_another_type_is_invalid(server: Any, regress: Any, ask: Any) -> None:
    from tensorflow_serving.apis import classification_pb2, regression_pb2

    for call, request in (
        (server.prediction.Classify, classification_pb2.ClassificationRequest()),
        (server.prediction.Regress, regression_pb2.RegressionRequest()),
    ):
        assert ask.failure(lambda: call(request, timeout=10)) == (  # noqa: B023  # called before the next turn
            grpc.StatusCode.INVALID_ARGUMENT,
            "Missing ModelSpec",
        )
    code, details = ask.failure(lambda: regress(server, {"x": "text"}))
    assert (code, "Data types don't match" in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)


def test_another_method_name_passes_by_default(server: Any, regress: Any, infer: Any, ask: Any) -> None:
    assert regress(server, {}, signature="mislabelled").result.regressions[0].value == 0.5
    (result,) = infer(server, [("mislabelled", REGRESS)], {}).results
    assert result.regression_result.regressions[0].value == 0.5
    request = ask.predict("people", signature="own_method", x=[0.25])
    assert list(server.prediction.Predict(request, timeout=30).outputs["y"].float_val) == [0.5]


def test_the_flag_insists_on_the_method_name(strict: Any, classify: Any, regress: Any, infer: Any, ask: Any) -> None:
    assert regress(strict, {}).result.regressions[0].value == 0.5
    assert ask.failure(lambda: regress(strict, {}, signature="mislabelled")) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        f"Expected regression signature method_name to be {REGRESS}. Was: {PREDICT}",
    )
    assert ask.failure(lambda: classify(strict, {}, signature="value")) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        f"Expected classification signature method_name to be {CLASSIFY}. Was: {REGRESS}",
    )
    code, _ = ask.failure(lambda: infer(strict, [("mislabelled", REGRESS)], {}))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    request = ask.predict("people", signature="own_method", x=[0.25])
    code, details = ask.failure(lambda: strict.prediction.Predict(request, timeout=30))
    assert (code, details.endswith("Was: own/method")) == (grpc.StatusCode.INTERNAL, True)
    mislabelled = ask.predict("people", signature="mislabelled", inputs=[b""])
    assert list(strict.prediction.Predict(mislabelled, timeout=30).outputs["outputs"].float_val) == [0.5]
