"""What `tastemaker-jobs` writes to stderr where it is to be JSON."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_TRAIN = """
from tastemaker_jobs import console
from tastemaker_jobs.process_log import set_up_log
from tastemaker_jobs.training.progress import EpochEvent, StageEvent

set_up_log()
console.note("starting [with brackets]")
with console.progress() as report:
    report(StageEvent("rnn", "exporting"))
    report(EpochEvent("rnn", 1, 20, 0.5, float("nan"), 1.25))
raise RuntimeError("a defect")
"""


def _run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "", **environment},
    )


def _lines(stderr: str) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in stderr.splitlines()]


def test_notes_progress_and_a_traceback_are_lines_in_json() -> None:
    ended = _run("-c", _TRAIN, TASTEMAKER_LOG_FORMAT="json")
    note, stage, epoch, last = _lines(ended.stderr)
    assert (note["level"], note["message"]) == ("INFO", "starting [with brackets]")
    assert (stage["model"], stage["stage"]) == ("rnn", "exporting")
    assert (epoch["model"], epoch["epoch"], epoch["loss"], epoch["NDCG@10"]) == ("rnn", 1, 0.5, None)
    assert epoch["duration_ms"] == 1250
    assert last["level"] == "CRITICAL"
    assert last["exception"].endswith("RuntimeError: a defect")
    for line in (note, stage, epoch, last):
        assert list(line)[:4] == ["time", "level", "logger", "message"]
        assert line["time"].endswith("+00:00")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_error_of_a_command_is_told_in_the_form_that_was_asked_for(tmp_path: Path, log_format: str) -> None:
    show = ("-m", "tastemaker_jobs.cli", "models", "show", "rnn", "--models-dir", str(tmp_path))
    ended = _run(*show, TASTEMAKER_LOG_FORMAT=log_format)
    assert ended.returncode == 1
    if log_format == "text":
        assert ended.stderr.startswith("error: ")
    else:
        (line,) = _lines(ended.stderr)
        assert line["level"] == "ERROR"
        assert str(tmp_path) in line["message"]


@pytest.mark.parametrize(
    ("name", "known"),
    [("TASTEMAKER_LOG_FORMAT", "text, json"), ("TASTEMAKER_LOG_LEVEL", "DEBUG, INFO, WARNING, ERROR")],
)
def test_bad_variable_is_named_with_what_it_may_be(tmp_path: Path, name: str, known: str) -> None:
    ended = _run("-m", "tastemaker_jobs.cli", "models", "list", "--models-dir", str(tmp_path), **{name: "xml"})
    assert ended.returncode == 1
    assert ended.stderr == f"error: {name} is 'xml'. Set it to one of {known}.\n"
