"""The HTTP/REST API: TensorFlow Serving's paths, bodies and codes over real HTTP."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

AFFINE = "/v1/models/affine"
MIXED = "/v1/models/mixed:predict"
BYTES = base64.b64encode(b"\xff\x00\xfe").decode()


def save_mixed(tf: Any, folder: Path) -> None:
    """Two inputs of several dtypes in, bytes, text, numbers and truth values out; one signature without end."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="text"),
            tf.TensorSpec([None, 2], tf.int64, name="numbers"),
        ]
    )
    def describe(text: Any, numbers: Any) -> dict[str, Any]:
        total = tf.reduce_sum(numbers, 1)
        return {
            "raw_bytes": text,
            "length": tf.strings.length(text),
            "even": total % 2 == 0,
            "root": tf.sqrt(tf.cast(total, tf.float32)),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def echo(text: Any) -> dict[str, Any]:
        return {"text": tf.identity(text)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, name="start")])
    def count(start: Any) -> dict[str, Any]:
        return {"end": tf.while_loop(lambda at: at < 1e38, lambda at: (tf.abs(at),), (start,))[0]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int8, name="small")])
    def small(small: Any) -> dict[str, Any]:
        return {"small": tf.identity(small)}

    signatures = {"serving_default": describe, "echo": echo, "count": count, "small": small}
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)


@pytest.fixture(scope="module")
def rest(start_rest: Any, models: Any, tf: Any, write_config: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    base = tmp_path_factory.mktemp("models")
    models.affine(base / "affine" / "1")
    models.affine(base / "affine" / "2", intercept=20.0)
    save_mixed(tf, base / "mixed" / "1")
    config = write_config(
        base / "models.config",
        {name: base / name for name in ("affine", "mixed")},
        {
            "affine": "model_version_policy { all {} } "
            'version_labels { key: "stable" value: 1 } version_labels { key: "can ary" value: 2 }'
        },
    )
    _, client = start_rest(
        f"--model_config_file={config}", "--rest_api_enable_cors_support", "--rest_api_timeout_in_ms=6000"
    )
    return client


@pytest.mark.parametrize("instances", [[[2.0], [4]], [{"x": [2.0]}, {"x": [4]}]])
def test_rows_answer_with_predictions(rest: Any, instances: Any) -> None:
    assert rest.post(f"{AFFINE}/versions/1:predict", {"instances": instances}) == (200, {"predictions": [[3.0], [4.0]]})


@pytest.mark.parametrize("inputs", [[[2.0], [4]], {"x": [[2.0], [4]]}])
def test_columns_answer_with_outputs(rest: Any, inputs: Any) -> None:
    assert rest.post(f"{AFFINE}/versions/1:predict", {"inputs": inputs}) == (200, {"outputs": [[3.0], [4.0]]})


def test_several_outputs_are_objects_per_row_and_bytes_are_base64(rest: Any) -> None:
    rows = [{"text": "né", "numbers": [4, 5]}, {"text": {"b64": BYTES}, "numbers": [-1, 1]}]
    status, answer = rest.post(MIXED, {"instances": rows})
    assert status == 200, answer
    encoded = base64.b64encode("né".encode()).decode()
    assert answer["predictions"] == [
        {"raw_bytes": {"b64": encoded}, "length": 3, "even": False, "root": 3.0},
        {"raw_bytes": {"b64": BYTES}, "length": 3, "even": True, "root": 0.0},
    ]


def test_several_outputs_are_one_object_of_columns(rest: Any) -> None:
    status, answer = rest.post(MIXED, {"inputs": {"text": ["a", {"b64": BYTES}], "numbers": [[1, 2], [2, 2]]}})
    assert status == 200, answer
    assert answer["outputs"]["raw_bytes"] == [{"b64": "YQ=="}, {"b64": BYTES}]
    assert (answer["outputs"]["length"], answer["outputs"]["even"]) == ([1, 3], [False, True])


@pytest.mark.parametrize("body", [{"instances": ["né", {"b64": "YQ"}]}, {"inputs": ["né", {"b64": "YQ=="}]}])
def test_a_plain_list_may_mix_text_and_base64(rest: Any, body: dict[str, Any]) -> None:
    status, answer = rest.post(MIXED, {"signature_name": "echo", **body})
    assert (status, list(answer.values())) == (200, [["né", "a"]])


@pytest.mark.parametrize(("sent", "written"), [("0.4", "2.2"), ("NaN", "NaN"), ("Infinity", "Infinity"), ("-4", "0.0")])
def test_decimals_are_as_short_as_they_read_back(rest: Any, sent: str, written: str) -> None:
    status, _, text = rest.send("POST", f"{AFFINE}/versions/1:predict", f'{{"instances": [[{sent}]]}}')
    assert (status, text.split("[[")[1].split("]]")[0]) == (200, written)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("", 21.0),
        ("/versions/1", 3.0),
        ("/versions/2", 21.0),
        ("/labels/stable", 3.0),
        ("/labels/can%20ary", 21.0),
    ],
)
def test_the_path_chooses_the_version(rest: Any, place: str, expected: float) -> None:
    assert rest.post(f"{AFFINE}{place}:predict", {"instances": [[2.0]]}) == (200, {"predictions": [[expected]]})


def test_the_verb_and_the_prefix_ignore_case(rest: Any) -> None:
    assert rest.post("/V1/Models/affine/Versions/1:PREDICT", {"instances": [[2.0]]})[0] == 200


def test_classify_answers_with_labels_and_scores(rest: Any) -> None:
    body = {"signature_name": "classify", "examples": [{"x": 2.0}, {"x": [4.0]}]}
    assert rest.post(f"{AFFINE}/labels/stable:classify", body) == (200, {"results": [[["", 3.0]], [["", 4.0]]]})


def test_regress_answers_with_values(rest: Any) -> None:
    body = {"signature_name": "regress", "examples": [{"x": 0.4}, {}]}
    assert rest.post(f"{AFFINE}/versions/1:regress", body) == (200, {"results": [2.2, 2.0]})


def test_a_context_is_part_of_each_example(rest: Any) -> None:
    body = {"signature_name": "regress", "context": {"x": 6.0}, "examples": [{}, {"x": 2.0}]}
    assert rest.post(f"{AFFINE}/versions/1:regress", body) == (200, {"results": [5.0, 3.0]})


def test_status_lists_the_versions_highest_first(rest: Any) -> None:
    status, answer = rest.get(AFFINE)
    assert status == 200
    available = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert answer == {"model_version_status": [{"version": "2", **available}, {"version": "1", **available}]}


@pytest.mark.parametrize(("place", "versions"), [("/versions/1", ["1"]), ("/labels/stable", ["2", "1"])])
def test_status_of_one_version_but_of_all_for_a_label(rest: Any, place: str, versions: list[str]) -> None:
    """GetModelStatus passes over labels, as TensorFlow Serving's does."""
    status, answer = rest.get(AFFINE + place)
    assert (status, [entry["version"] for entry in answer["model_version_status"]]) == (200, versions)


@pytest.mark.parametrize(("place", "version"), [("", "2"), ("/versions/1", "1"), ("/labels/stable", "1")])
def test_metadata_describes_the_signatures(rest: Any, place: str, version: str) -> None:
    status, answer = rest.get(f"{AFFINE}{place}/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "affine", "signature_name": "", "version": version}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert [size["size"] for size in signature["inputs"]["x"]["tensor_shape"]["dim"]] == ["-1", "1"]


ROW = {"instances": [[1.0]]}


@pytest.mark.parametrize(
    ("path", "body", "code", "message"),
    [
        ("/v1/models/other:predict", ROW, 404, "Servable not found for request: Latest(other)"),
        (f"{AFFINE}/versions/9:predict", ROW, 404, "Servable not found for request: Specific(affine, 9)"),
        (f"{AFFINE}/versions/99999999999999999999:predict", ROW, 400, "Failed to convert version"),
        (f"{AFFINE}/labels/none:predict", ROW, 400, "Unrecognized servable version label: none"),
        (f"{AFFINE}:explain", ROW, 400, f"Malformed request: POST {AFFINE}:explain"),
        (f"{AFFINE}/metadata", ROW, 400, f"Malformed request: POST {AFFINE}/metadata"),
        (f"{AFFINE}:predict", "", 400, "JSON Parse error: The document is empty"),
        (f"{AFFINE}:predict", '{"instances": [[1.0]', 400, "JSON Parse error"),
        (f"{AFFINE}:predict", b'{"instances": "\xff"}', 400, "JSON Parse error"),
        (f"{AFFINE}:predict", [1.0], 400, "Is not object"),
        (f"{AFFINE}:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        (f"{AFFINE}:predict", {**ROW, "inputs": [[1.0]]}, 400, "only one of 'inputs' or 'instances'"),
        (f"{AFFINE}:predict", {"instances": 1.0}, 400, "Expecting 'instances' to be an list/array"),
        (f"{AFFINE}:predict", {"instances": []}, 400, "No values in 'instances' array"),
        (f"{AFFINE}:predict", {**ROW, "signature_name": 1}, 400, "'signature_name' key must be a string"),
        (f"{AFFINE}:predict", {**ROW, "signature_name": "s"}, 400, 'name: "s" not found in signature def'),
        (
            f"{AFFINE}:predict",
            {"instances": [["one"]]},
            400,
            'JSON Value: "one" Type: String is not of expected type: f',
        ),
        (f"{AFFINE}:predict", {"instances": [[1.0], [1.0, 2.0]]}, 400, "Failed to process element: 1"),
        (f"{AFFINE}:predict", {"instances": [{"y": [1.0]}]}, 400, "does not have named input: y"),
        (f"{AFFINE}:predict", {"inputs": {"y": [[1.0]]}}, 400, "Missing named input: x in 'inputs' object."),
        (MIXED, {"instances": ["a"]}, 400, "instances is a plain list, but expecting list of objects"),
        (MIXED, {"instances": [{"text": "a"}]}, 400, "keys must be equal to: numbers,text"),
        (MIXED, {"instances": [{"text": "a", "numbers": [1, 1.5]}]}, 400, "is not of expected type: int64"),
        (MIXED, {"signature_name": "echo", "instances": [{"b64": "?"}]}, 400, "Unable to base64 decode"),
        (MIXED, {"signature_name": "echo", "inputs": [{"b64": BYTES}]}, 400, "text"),
        (f"{AFFINE}:classify", {"examples": [{}]}, 400, "inputs"),
        (f"{AFFINE}:classify", {"signature_name": "classify"}, 400, "key 'examples' is expected and was not found"),
        (f"{AFFINE}:regress", {"signature_name": "regress", "examples": []}, 400, "is an empty array"),
        (f"{AFFINE}:regress", {"signature_name": "regress", "examples": [{"x": 1}]}, 400, "Data types don't match"),
        (f"{AFFINE}:regress", {"signature_name": "regress", "examples": [{"x": ["a", 1.0]}]}, 400, "feature: x"),
    ],
)
def test_a_failure_is_an_error_object_with_the_mapped_code(
    rest: Any, path: str, body: Any, code: int, message: str
) -> None:
    status, answer = rest.post(path, body)
    assert (status, list(answer)) == (code, ["error"])
    assert message in answer["error"]


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("/v1/models/other", 404, "Could not find any versions of model other"),
        ("/v1/models/other/metadata", 404, "Servable not found for request: Latest(other)"),
        (f"{AFFINE}/versions/9", 404, "Could not find version 9 of model affine"),
        ("/v1/models", 400, "Missing model name in request."),
        (f"{AFFINE}:predict", 400, f"Malformed request: GET {AFFINE}:predict"),
        (f"{AFFINE}/labels/none/metadata", 400, "Unrecognized servable version label: none"),
    ],
)
def test_a_failed_look_is_an_error_object_with_the_mapped_code(rest: Any, path: str, code: int, message: str) -> None:
    status, answer = rest.get(path)
    assert (status, list(answer)) == (code, ["error"])
    assert message in answer["error"]


def test_other_methods_are_malformed_and_other_paths_unknown(rest: Any) -> None:
    assert rest.send("DELETE", AFFINE)[0] == 400
    assert rest.send("GET", "/v2/models/affine")[0] == 404


def test_bodies_over_4_mb_go_both_ways(rest: Any) -> None:
    rows = 400_000
    body = json.dumps({"instances": [[0.125625]] * rows})
    assert len(body) > 4 * 2**20
    status, _, text = rest.send("POST", f"{AFFINE}/versions/1:predict", body)
    assert (status, len(text) > 4 * 2**20) == (200, True)
    answer = json.loads(text)["predictions"]
    assert (len(answer), answer[0], answer[-1]) == (rows, [2.0628126], [2.0628126])


def test_a_call_that_takes_too_long_is_a_gateway_timeout(rest: Any) -> None:
    status, answer = rest.post(MIXED, {"signature_name": "count", "inputs": 1.0})
    assert (status, list(answer)) == (504, ["error"])


def test_small_integers_wrap_as_in_grpc(rest: Any) -> None:
    body = {"signature_name": "small", "inputs": [300, -129]}
    assert rest.post(MIXED, body) == (200, {"outputs": [44, 127]})
    status, answer = rest.post(MIXED, {**body, "inputs": [2**31]})
    assert (status, "is not of expected type: int8" in answer["error"]) == (400, True)


def test_browsers_of_other_origins_are_let_in_when_the_flag_says_so(rest: Any) -> None:
    status, headers, _ = rest.send("OPTIONS", f"{AFFINE}:predict", headers={"Origin": "http://example.test"})
    assert (status, headers["Access-Control-Allow-Origin"]) == (200, "*")
    status, _, text = rest.send("OPTIONS", f"{AFFINE}:predict")
    assert (status, list(json.loads(text))) == (400, ["error"])
