"""The method names of signatures: ignored by default, insisted on with `--enable_signature_method_name_check`."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.modelserver.saved_models import CLASSIFY, PREDICT, REGRESS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def strict(start_server: Any, models: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("strict")
    models.people(folder / "7")
    return start_server("--model_name=people", f"--model_base_path={folder}", "--enable_signature_method_name_check")


def test_another_method_name_passes_by_default(people: Any, ask: Any) -> None:
    mislabelled = ask.regression("people", {}, signature="mislabelled")
    assert people.prediction.Regress(mislabelled, timeout=30).result.regressions[0].value == 0.5
    several = ask.inference([("people", "mislabelled", REGRESS)], {})
    (result,) = people.prediction.MultiInference(several, timeout=30).results
    assert result.regression_result.regressions[0].value == 0.5
    request = ask.predict("people", signature="own_method", x=[0.25])
    assert list(people.prediction.Predict(request, timeout=30).outputs["y"].float_val) == [0.5]


def test_the_flag_insists_on_it(strict: Any, ask: Any) -> None:
    stub = strict.prediction
    value = ask.regression("people", {}, signature="value")
    assert stub.Regress(value, timeout=30).result.regressions[0].value == 0.5
    mislabelled = ask.regression("people", {}, signature="mislabelled")
    refusal = f"Expected regression signature method_name to be {REGRESS}. Was: {PREDICT}"
    assert ask.failure(lambda: stub.Regress(mislabelled, timeout=30)) == (grpc.StatusCode.INVALID_ARGUMENT, refusal)
    several = ask.inference([("people", "mislabelled", REGRESS)], {})
    assert ask.failure(lambda: stub.MultiInference(several, timeout=30)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        refusal,
    )
    wrong = ask.classification("people", {}, signature="value")
    assert ask.failure(lambda: stub.Classify(wrong, timeout=30)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        f"Expected classification signature method_name to be {CLASSIFY}. Was: {REGRESS}",
    )


def test_with_the_flag_predict_takes_the_three_known_ones(strict: Any, ask: Any) -> None:
    request = ask.predict("people", signature="own_method", x=[0.25])
    code, details = ask.failure(lambda: strict.prediction.Predict(request, timeout=30))
    assert (code, details.endswith("Was: own/method")) == (grpc.StatusCode.INTERNAL, True)
    mislabelled = ask.predict("people", signature="mislabelled", inputs=[b""])
    assert list(strict.prediction.Predict(mislabelled, timeout=30).outputs["outputs"].float_val) == [0.5]
