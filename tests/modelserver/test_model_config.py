"""`--model_config_file`: version policies, labels, and reading the file again while serving."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

pytestmark = pytest.mark.slow

LATEST_TWO = "model_version_policy { latest { num_versions: 2 } }"
ALL = "model_version_policy { all {} }"


def label(name: str, version: int) -> str:
    return f'version_labels {{ key: "{name}" value: {version} }}'


class Config:
    """The file that the module's server reads, and the folders that it names."""

    def __init__(self, folder: Path, models: Any, write: Callable[..., Path]) -> None:
        self.folder = folder
        self.path = folder / "models.config"
        self.models = models
        self._write = write
        self._extra: dict[str, str] = {}

    def add(self, name: str, extra: str, *versions: int) -> None:
        """Adds a model whose version v answers x + v."""
        for version in versions:
            self.release(name, version)
        self.set(name, extra)

    def release(self, name: str, version: int) -> None:
        """Puts a whole version into a model's folder at once."""
        self.models.affine(self.folder / "staging", slope=1.0, intercept=float(version))
        (self.folder / name).mkdir(exist_ok=True)
        (self.folder / "staging").rename(self.folder / name / str(version))

    def set(self, name: str, extra: str | None) -> None:
        """Sets a model's further lines; None drops the model."""
        if extra is None:
            del self._extra[name]
        else:
            self._extra[name] = extra
        written = self._write(
            self.folder / "next.config", {known: self.folder / known for known in self._extra}, self._extra
        )
        written.replace(self.path)

    def put(self, text: str) -> None:
        """Replaces the file by this text."""
        (self.folder / "next.config").write_text(text)
        (self.folder / "next.config").replace(self.path)


@pytest.fixture(scope="module")
def config(models: Any, write_config: Any, tmp_path_factory: pytest.TempPathFactory) -> Config:
    made = Config(tmp_path_factory.mktemp("config"), models, write_config)
    made.add("latest", LATEST_TWO, 1, 2, 3)
    made.add("every", ALL, 1, 2, 3)
    made.add("some", "model_version_policy { specific { versions: 1 versions: 3 versions: 9 } }", 1, 2, 3)
    made.add("labelled", ALL + label("stable", 1) + label("canary", 2), 1, 2)
    made.add("broken", ALL + label("stable", 1) + label("canary", 2), 1)
    (made.folder / "broken" / "2").mkdir()
    (made.folder / "broken" / "2" / "saved_model.pb").write_bytes(b"\xff damaged")
    made.add("leaving", "", 1)
    return made


@pytest.fixture(scope="module")
def server(start_server: Any, config: Config) -> Any:
    return start_server(
        f"--model_config_file={config.path}", "--model_config_file_poll_wait_seconds=1", "--max_num_load_retries=0"
    )


@pytest.fixture
def answer(server: Any, ask: Any) -> Callable[..., float]:
    """What a model says to x = 0: the version that answered, in these models; checked against the model_spec."""

    def call(name: str, **spec: Any) -> float:
        response = server.prediction.Predict(ask.predict(name, x=[[0.0]], **spec), timeout=10)
        (y,) = response.outputs["y"].float_val
        assert response.model_spec.version.value == y
        return float(y)

    return call


def test_the_latest_versions_serve_and_a_new_one_displaces_the_lowest(
    server: Any, config: Config, answer: Any, until: Any
) -> None:
    until(lambda: server.states("latest") == {3: "AVAILABLE", 2: "AVAILABLE"})
    assert answer("latest") == 3
    config.release("latest", 4)
    until(lambda: server.states("latest") == {4: "AVAILABLE", 3: "AVAILABLE", 2: "END"})
    assert answer("latest") == 4


def test_all_versions_serve_side_by_side(server: Any, answer: Any, until: Any) -> None:
    until(lambda: server.states("every") == {3: "AVAILABLE", 2: "AVAILABLE", 1: "AVAILABLE"})
    assert [answer("every", version=version) for version in (1, 2, 3)] == [1, 2, 3]
    assert answer("every") == 3


def test_specific_versions_serve_as_far_as_they_exist(
    server: Any, config: Config, answer: Any, ask: Any, until: Any
) -> None:
    until(lambda: server.states("some") == {3: "AVAILABLE", 1: "AVAILABLE"})
    request = ask.predict("some", version=2, x=[[0.0]])
    assert ask.failure(lambda: server.prediction.Predict(request, timeout=10)) == (
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Specific(some, 2)",
    )
    assert "[9]" in server.output()
    config.set("some", "model_version_policy { specific { versions: 2 } }")
    until(lambda: server.states("some") == {3: "END", 2: "AVAILABLE", 1: "END"})
    assert answer("some") == 2


def test_labels_that_arrive_with_their_versions_are_in_force(answer: Any) -> None:
    assert answer("labelled", label="stable") == 1
    assert answer("labelled", label="canary") == 2


def test_a_label_moves_with_the_file_and_goes_with_it(
    server: Any, config: Config, answer: Any, ask: Any, until: Any
) -> None:
    assert answer("labelled", label="stable") == 1
    config.set("labelled", ALL + label("stable", 2))
    until(lambda: answer("labelled", label="stable") == 2)
    request = ask.predict("labelled", label="canary", x=[[0.0]])
    assert ask.failure(lambda: server.prediction.Predict(request, timeout=10)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Unrecognized servable version label: canary",
    )
    config.set("labelled", ALL + label("stable", 1) + label("canary", 2))
    until(lambda: answer("labelled", label="stable") == 1)


def test_a_label_on_a_version_that_failed_is_a_failed_precondition(server: Any, answer: Any, ask: Any) -> None:
    assert answer("broken", label="stable") == 1
    request = ask.predict("broken", label="canary", x=[[0.0]])
    assert ask.failure(lambda: server.prediction.Predict(request, timeout=10)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "Label canary of model broken names version 2, which is not currently available for inference",
    )


def test_the_file_adds_and_drops_models(server: Any, config: Config, answer: Any, ask: Any, until: Any) -> None:
    assert answer("leaving") == 1
    config.add("coming", "", 5)
    config.set("leaving", None)
    until(lambda: server.states("coming") == {5: "AVAILABLE"} and server.states("leaving") == {1: "END"})
    assert answer("coming") == 5
    code, _ = ask.failure(lambda: answer("leaving"))
    assert code is grpc.StatusCode.NOT_FOUND


def test_a_file_that_no_longer_parses_keeps_the_config_in_force(
    server: Any, config: Config, answer: Any, until: Any
) -> None:
    good = config.path.read_text()
    config.put("model_config_list { config { nmae: 'every' } }")
    until(lambda: "nmae" in server.output())
    assert answer("every") == 3
    config.put(good)
    config.add("repaired", "", 6)
    until(lambda: server.states("repaired") == {6: "AVAILABLE"})


def test_a_label_on_a_missing_version_keeps_the_config_in_force(
    server: Any, config: Config, answer: Any, until: Any
) -> None:
    config.set("every", ALL + label("next", 8))
    until(lambda: "Request to assign label to version 8 of model every" in server.output())
    assert answer("every") == 3
    config.set("every", ALL)


def test_unavailable_labels_are_allowed_by_the_flag_until_they_move(
    start_server: Any, models: Any, write_config: Any, ask: Any, until: Any, tmp_path: Path
) -> None:
    from google.protobuf import text_format
    from tensorflow_serving.apis import model_management_pb2

    models.affine(tmp_path / "m" / "1")
    path = write_config(tmp_path / "c", {"m": tmp_path / "m"}, {"m": ALL + label("next", 2)})
    server = start_server(f"--model_config_file={path}", "--allow_version_labels_for_unavailable_models")
    request = ask.predict("m", label="next", x=[[2.0]])
    assert ask.failure(lambda: server.prediction.Predict(request, timeout=10)) == (
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Specific(m, 2)",
    )
    models.affine(tmp_path / "staging", slope=1.0)
    (tmp_path / "staging").rename(tmp_path / "m" / "2")
    until(lambda: server.states("m").get(2) == "AVAILABLE")
    assert list(server.prediction.Predict(request, timeout=10).outputs["y"].float_val) == [4.0]

    moved = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(path.read_text().replace("value: 2", "value: 7"), moved.config)
    assert ask.failure(lambda: server.model.HandleReloadConfigRequest(moved, timeout=10)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "Request to assign label to version 7 of model m, which is not currently available for inference",
    )
    assert server.prediction.Predict(request, timeout=10).model_spec.version.value == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("model_config_list { config { name: 'm' base_pth: '/m' } }", 'no field named "base_pth"'),
        (
            "model_config_list { config { name: 'm' base_path: 'm' model_platform: 'torch' } }",
            (
                "Expected model m to have an absolute path or URI; got base_path()=m; Model m requests unsupported "
                "platform torch"
            ),
        ),
        (None, "No such file or directory"),
    ],
)
def test_a_bad_config_stops_the_start_with_the_reason(
    start_server: Any, tmp_path: Path, text: str | None, reason: str
) -> None:
    path = tmp_path / "models.config"
    if text is not None:
        path.write_text(text)
    server = start_server(f"--model_config_file={path}", wait=False)
    assert server.process.wait(60) != 0
    assert reason in server.output()
    assert "Traceback" not in server.output()


def test_a_label_on_a_missing_version_stops_the_start(
    start_server: Any, config: Config, write_config: Any, tmp_path: Path
) -> None:
    path = write_config(tmp_path / "c", {"m": config.folder / "every"}, {"m": label("next", 77)})
    server = start_server(f"--model_config_file={path}", wait=False)
    assert server.process.wait(60) != 0
    assert "Request to assign label to version 77 of model m" in server.output()
