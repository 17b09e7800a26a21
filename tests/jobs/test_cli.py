"""The command: help and errors at once, one line each, honest exit status."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tastemaker_jobs.cli import main
from tastemaker_jobs.models import MODEL_NAMES

HEAVY = ("tensorflow", "keras", "ray", "pyarrow")


def error_of(argv: list[str], capsys: pytest.CaptureFixture[str], status: int = 1) -> str:
    try:
        returned = main(argv)
    except SystemExit as stop:  # argparse's way out
        returned = stop.code
    assert returned == status
    return capsys.readouterr().err


def test_help_needs_no_heavy_import():
    code = (
        "import sys\nfrom tastemaker_jobs.cli import main\n"
        "try: main(['train', '--help'])\nexcept SystemExit as stop: assert stop.code == 0\n"
        f"assert not [name for name in {HEAVY} if name in sys.modules]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "--no-ray" in done.stdout


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "COMMAND"),
        (["train"], "which model?"),
        (["fetch", "ml-1b"], "ml-100k"),
        (["train", "rnn", "--epochs", "0"], "'0' is not a whole number of 1 to"),
        (["train", "rnn", "--seed", "-1"], "'-1' is not a whole number of 0 to"),
        (["evaluate", "rnn", "--protocol", "random"], "invalid choice: 'random'"),
        (["train", "rnn", "--seed", "x"], "'x' is not a whole number"),
        (["train", "rnn", "--no-ray", "--address", "10.0.0.1:6379"], "not allowed with"),
    ],
)
def test_wrong_arguments_are_named(argv, says, capsys):
    assert says in error_of(argv, capsys, status=2)


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_unknown_model_lists_the_known(command, capsys):
    error = error_of([command, "rnn", "gru"], capsys)
    assert error == f"error: There is no model 'gru'. The models are {', '.join(MODEL_NAMES)}.\n"


@pytest.mark.parametrize("ray", [[], ["--no-ray"]])
def test_malformed_ratings_file_stops_before_anything_is_done(ray, tmp_path, capsys):
    bad = tmp_path / "bad.csv"
    bad.write_text("user_id,item_id,rating,timestamp\n1,2,3,4\n1,2,three,4\n")
    models = tmp_path / "models"
    error = error_of(["train", "rnn", "--ratings", str(bad), "--models-dir", str(models), *ray], capsys)
    assert f"error: {bad} is not a ratings file" in error
    assert "line 3, column rating: found 'three', expected a finite number" in error
    assert not list(models.rglob("*"))


def test_models_folder_that_cannot_be_written_stops_before_training(ratings_csv, tmp_path, capsys):
    (tmp_path / "models").write_text("a file")
    argv = ["train", "rnn", "--ratings", str(ratings_csv), "--models-dir", str(tmp_path / "models")]
    error = error_of(argv, capsys)
    assert error.startswith(f"error: the models folder {tmp_path / 'models'}")
    assert "training" not in error


def test_nothing_published_says_how_to_train(tmp_path, capsys):
    error = error_of(["evaluate", "rnn", "--models-dir", str(tmp_path)], capsys)
    assert "tastemaker-jobs train rnn" in error


def test_path_without_a_version_is_named(tmp_path, capsys):
    assert f"{tmp_path}/nothing has no version" in error_of(["evaluate", f"{tmp_path}/nothing"], capsys)


def test_broken_training_record_is_named(ratings_csv, tmp_path, capsys):
    (tmp_path / "rnn" / "3").mkdir(parents=True)
    (tmp_path / "rnn" / "3" / "manifest.json").write_text("{}")
    (tmp_path / "rnn" / "3" / "training.json").write_text('{"protocol": "temporal"}')
    error = error_of(["evaluate", f"{tmp_path}/rnn/3", "--ratings", str(ratings_csv)], capsys)
    assert error.startswith(f"error: {tmp_path}/rnn/3/training.json cannot be read")


def test_model_of_another_split_is_refused_before_tensorflow_starts(ratings_csv, tmp_path, capsys):
    (tmp_path / "rnn" / "3").mkdir(parents=True)
    (tmp_path / "rnn" / "3" / "manifest.json").write_text(
        '{"name": "rnn", "data_window": {"dataset": "other", "last_event_time": "2030-01-01T00:00:00Z"}}'
    )
    error = error_of(["evaluate", "rnn", "--ratings", str(ratings_csv), "--models-dir", str(tmp_path)], capsys)
    assert "error: rnn/3 leaks test data into training." in error
    assert "another file (other)" in error
    assert "starting TensorFlow" not in error


def test_broken_manifest_is_named(ratings_csv, tmp_path, capsys):
    (tmp_path / "rnn" / "3").mkdir(parents=True)
    (tmp_path / "rnn" / "3" / "manifest.json").write_text("{")
    error = error_of(["evaluate", "rnn", "--ratings", str(ratings_csv), "--models-dir", str(tmp_path)], capsys)
    assert error.startswith(f"error: {tmp_path}/rnn/3/manifest.json cannot be read")


def test_data_folder_without_data_is_named(cache, tmp_path, capsys):
    error = error_of(["fetch", "ml-100k", "--data-dir", str(tmp_path)], capsys)
    assert f"error: the folder {tmp_path}/ml-100k has no ml-100k" in error


def test_fetch_prints_the_folder_alone_on_stdout(ml_100k, cache, tmp_path, capsys):
    data = tmp_path / "data" / "ml-100k"
    data.mkdir(parents=True)
    for name in ("ratings.csv", "items.csv"):
        (data / name).write_bytes((ml_100k.folder / name).read_bytes())
    assert main(["fetch", "ml-100k", "--data-dir", str(data.parent)]) == 0
    printed = capsys.readouterr()
    folder = Path(printed.out.removesuffix("\n"))
    assert (folder / "ratings.csv").is_file()
    assert (folder / "items.csv").is_file()
    assert "checksum verified" in printed.err
    assert str(data) in printed.err


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_installed_command_runs():
    command = Path(sys.executable).with_name("tastemaker-jobs")
    done = subprocess.run([str(command), "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("fetch", "train", "evaluate"):
        assert name in done.stdout
