"""The benchmarks' own parts: the load counts what it sends, and the page keeps one table for each benchmark."""

from pathlib import Path
from typing import Literal

import pytest
from bench import gru_model, report
from bench.load import h2load_is_there, requests_per_second
from bench.processes import echo_server, free_port

from tastemaker.v1 import recommendation_service_pb2 as pb

_METHOD = "/tastemaker.v1.RecommendationService/Recommend"
needs_h2load = pytest.mark.skipif(not h2load_is_there(), reason="h2load is not installed (Debian: nghttp2-client)")


@needs_h2load
def test_load_on_an_echo_server_is_counted(tmp_path: Path) -> None:
    with echo_server(tmp_path, _METHOD, pb.RecommendResponse(request_id="r").SerializeToString()) as address:
        assert requests_per_second(address, _METHOD, pb.RecommendRequest(user_id="u"), 200) > 0


@needs_h2load
def test_calls_that_fail_are_an_error_and_no_rate() -> None:
    with pytest.raises(RuntimeError, match="did not finish 200 calls"):
        requests_per_second(f"127.0.0.1:{free_port()}", _METHOD, pb.RecommendRequest(), 200)


def test_page_keeps_one_table_for_each_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("# Benchmarks\n")
    monkeypatch.setattr(report, "_PAGE", page)
    for name, figure in (("a", "1"), ("b", "2"), ("a", "3")):
        row = report.Result(what="w", measured=figure, reference="r", ratio="1.0", target="≥ 1", is_met=figure != "3")
        report.write_report(name, "command", [row])
    text = page.read_text()
    assert text.count("## a") == text.count("## b") == 1
    assert "| w | 3 | r | 1.0 | ≥ 1 | **no** |" in text
    assert "| w | 1 |" not in text
    assert text.index("## a") < text.index("## b")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fused", "keras"])
def test_the_model_that_is_measured_answers_a_page(tmp_path: Path, kind: Literal["fused", "keras"]) -> None:
    gru_model.save(tmp_path / "1", kind)
    found, _ = gru_model.in_process(tmp_path / "1", 2)()
    assert found["item_id"].shape == (2, 10)
    assert (tmp_path / "1" / "assets.extra").is_dir()
