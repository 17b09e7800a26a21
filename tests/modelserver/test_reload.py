"""HandleReloadConfigRequest: a full replacement of the config, in force when the call returns."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

pytestmark = pytest.mark.slow

Reload = Callable[..., Any]


@pytest.fixture(scope="module")
def base(models: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models whose version v answers x + v, and one that cannot be loaded."""
    folder = tmp_path_factory.mktemp("reload")
    for name, versions in (("first", (1,)), ("second", (1, 2)), ("third", (3,))):
        for version in versions:
            models.affine(folder / name / str(version), slope=1.0, intercept=float(version))
    (folder / "damaged" / "1").mkdir(parents=True)
    (folder / "damaged" / "1" / "saved_model.pb").write_bytes(b"\xff damaged")
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(scope="module")
def server(start_server: Any, write_config: Any, base: Path) -> Any:
    config = write_config(base / "models.config", {"first": base / "first"})
    return start_server(f"--model_config_file={config}", "--max_num_load_retries=0")


@pytest.fixture
def reload(server: Any, write_config: Any, base: Path, tmp_path: Path) -> Reload:
    """Calls with a config of these models, each with its further lines."""
    from google.protobuf import text_format
    from tensorflow_serving.apis import model_management_pb2

    def call(*, timeout: float = 60, metrics: tuple[str, ...] = (), **models: str) -> Any:
        request = model_management_pb2.ReloadConfigRequest(metric_names=metrics)
        text = write_config(tmp_path / "c", {name: base / name for name in models}, models).read_text()
        text_format.Parse(text, request.config)
        return server.model.HandleReloadConfigRequest(request, timeout=timeout)

    return call


@pytest.fixture
def answer(server: Any, ask: Any) -> Callable[..., float]:
    """What a model says to x = 0: the version that answered."""

    def call(name: str, **spec: Any) -> float:
        response = server.prediction.Predict(ask.predict(name, x=[[0.0]], **spec), timeout=10)
        return float(response.outputs["y"].float_val[0])

    return call


def test_new_models_serve_when_the_call_returns_and_unlisted_ones_end(
    server: Any, reload: Reload, answer: Any, ask: Any, until: Any
) -> None:
    reload(first="")
    assert reload(second="", third="").status.error_code == 0
    assert (answer("second"), answer("third")) == (2, 3)
    until(lambda: server.states("first") == {1: "END"})
    assert ask.failure(lambda: answer("first")) == (
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Latest(first)",
    )
    reload(first="", second="")
    assert (answer("first"), answer("second")) == (1, 2)
    until(lambda: server.states("third") == {3: "END"})


def test_a_model_that_stays_is_not_loaded_again(server: Any, reload: Reload) -> None:
    reload(first="")
    loads = server.output().count("Loading servable version {name: first ")
    reload(first="", third="")
    assert server.output().count("Loading servable version {name: first ") == loads


def test_the_policy_of_a_serving_model_changes(server: Any, reload: Reload, answer: Any, until: Any) -> None:
    reload(second="")
    assert answer("second") == 2
    reload(second="model_version_policy { specific { versions: 1 } }")
    until(lambda: server.states("second") == {2: "END", 1: "AVAILABLE"})
    assert answer("second") == 1


def test_labels_are_in_force_when_the_call_that_brings_their_versions_returns(reload: Reload, answer: Any) -> None:
    reload(first="")
    reload(
        second='model_version_policy { all {} } version_labels { key: "old" value: 1 } '
        'version_labels { key: "new" value: 2 }'
    )
    assert (answer("second", label="old"), answer("second", label="new")) == (1, 2)


def test_a_label_on_an_unavailable_version_changes_nothing(reload: Reload, answer: Any, ask: Any) -> None:
    reload(first="")
    code, message = ask.failure(lambda: reload(third='version_labels { key: "next" value: 9 }'))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert message == (
        "Request to assign label to version 9 of model third, which is not currently available for inference"
    )
    assert answer("first") == 1


def test_a_model_that_cannot_load_fails_the_call_with_its_reason(
    server: Any, reload: Reload, answer: Any, ask: Any
) -> None:
    reload(first="")
    code, message = ask.failure(lambda: reload(first="", damaged=""))
    assert code is grpc.StatusCode.UNKNOWN
    assert message.startswith("1 servable(s) did not become available: {{{name: damaged version: 1} due to error: ")
    assert "/damaged/1)" in message
    assert server.states("damaged")[1].startswith("END ")
    assert answer("first") == 1


def test_a_model_without_versions_holds_the_call_until_its_deadline(
    server: Any, reload: Reload, base: Path, models: Any, answer: Any, ask: Any, until: Any
) -> None:
    started = time.monotonic()
    code, _ = ask.failure(lambda: reload(first="", empty="", timeout=1.0))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 3
    assert answer("first") == 1
    models.affine(base / "staging", slope=1.0, intercept=4.0)
    (base / "staging").rename(base / "empty" / "4")
    until(lambda: server.states("empty") == {4: "AVAILABLE"})
    assert answer("empty") == 4


@pytest.mark.parametrize(
    ("config", "code", "message"),
    [
        (
            "",
            grpc.StatusCode.INVALID_ARGUMENT,
            (
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            ),
        ),
        (
            (
                "model_config_list { config { name: 'm' base_path: '/m' model_platform: 'tensorflow' } "
                "config { name: 'm' base_path: '/m' model_platform: 'tensorflow' } }"
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
            "Illegal to list model m multiple times in config list",
        ),
        (
            "model_config_list { config { name: 'm' base_path: 'here' model_platform: 'tensorflow' } }",
            grpc.StatusCode.INVALID_ARGUMENT,
            "Expected model m to have an absolute path or URI; got base_path()=here",
        ),
        (
            "model_config_list { config { name: 'm' base_path: '/m' } }",
            grpc.StatusCode.INVALID_ARGUMENT,
            (
                "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
                "ModelServerConfig::model_platform, model name is m"
            ),
        ),
    ],
)
def test_a_config_that_cannot_be_changes_nothing(
    server: Any, reload: Reload, answer: Any, ask: Any, config: str, code: grpc.StatusCode, message: str
) -> None:
    from google.protobuf import text_format
    from tensorflow_serving.apis import model_management_pb2

    reload(first="")
    request = text_format.Parse(f"config {{ {config} }}", model_management_pb2.ReloadConfigRequest())
    assert ask.failure(lambda: server.model.HandleReloadConfigRequest(request, timeout=10)) == (code, message)
    assert answer("first") == 1


def test_an_empty_list_unloads_everything(server: Any, reload: Reload, answer: Any, until: Any) -> None:
    reload(first="", third="")
    reload()
    until(lambda: server.states("first") == {1: "END"} and server.states("third") == {3: "END"})
    reload(first="")
    assert answer("first") == 1


def test_the_named_metrics_tell_what_the_call_added(reload: Reload) -> None:
    (metric,) = reload(first="", metrics=(":tensorflow:serving:request_count",)).metric
    assert (metric.name, metric.int64_value_increase) == (":tensorflow:serving:request_count", 0)
