import subprocess
import sys
from pathlib import Path

import pytest

from tastemaker_modelserver.flags import FlagError, Flags, parse_flags, usage

BASE = "--model_base_path=/models/m"


def test_defaults_are_tensorflow_servings() -> None:
    flags = parse_flags([BASE])
    assert (flags.port, flags.rest_api_port, flags.model_name) == (8500, 0, "default")
    assert (flags.max_num_load_retries, flags.load_retry_interval_micros) == (5, 60_000_000)
    assert flags.file_system_poll_wait_seconds == 1
    assert flags.enable_batching is None


@pytest.mark.parametrize(
    ("argument", "expected"),
    [("--enable_batching", True), ("--enable_batching=true", True), ("--enable_batching=false", False)],
)
def test_booleans_take_tensorflows_spellings(argument: str, expected: bool) -> None:
    assert parse_flags([BASE, argument]).enable_batching is expected


def test_a_value_may_follow_in_the_next_argument() -> None:
    assert parse_flags([BASE, "--port", "9000"]).port == 9000


def test_every_mistake_is_listed_at_once() -> None:
    with pytest.raises(FlagError) as caught:
        parse_flags(["--modle_name=m", "--port=many", "--prefer_tflite_model", "--rest_api_port=70000", "stray"])
    problems = "\n".join(caught.value.problems)
    assert "--modle_name=m; did you mean --model_name?" in problems
    assert "--port: 'many' is not a whole number" in problems
    assert "--prefer_tflite_model: this server leaves it out" in problems
    assert "--rest_api_port: 70000 is not a port" in problems
    assert "unknown argument: stray" in problems
    assert "--model_base_path or --model_config_file is needed" in problems


def test_help_documents_every_flag() -> None:
    text = usage("server")
    for name in vars(Flags()):
        line = text.split(f"  --{name}=")[1].splitlines()[1].strip()
        assert len(line) > 10, name


def test_a_bad_flag_ends_the_process_before_tensorflow_is_imported(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tastemaker_modelserver", "--portt=1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "unknown argument: --portt=1; did you mean --port?" in done.stderr
    assert "tensorflow.python" not in done.stderr
