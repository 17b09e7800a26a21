"""The commands on files of one's own: train, recommend, evaluate, crossval."""

import json

import pytest

from tastemaker_jobs.cli import main
from tastemaker_jobs.data.ratings import Ratings
from tastemaker_jobs.data.splits import leave_last_out
from tastemaker_jobs.publishing.manifests import read_manifest
from tastemaker_jobs.testing.synthetic import synthetic_ratings, write_ratings

pytestmark = pytest.mark.slow
pytest.importorskip("tensorflow")

from pyarrow import csv, parquet  # noqa: E402  after the check that the jobs' packages are there


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Training and test files, and a model trained on them by the command."""
    folder = tmp_path_factory.mktemp("files")
    split = leave_last_out(synthetic_ratings(seed=3))
    write_ratings(Ratings.joined(split.train, split.valid), folder / "train.csv")
    write_ratings(split.test, folder / "test.csv")
    parquet.write_table(csv.read_csv(folder / "train.csv"), folder / "train.parquet")
    argv = ["train", "--model", "autoencoder", "--train", f"{folder}/train.csv", "--out", f"{folder}/models/ae"]
    assert main([*argv, "--no-ray", "--seed", "1", "--set", "epochs=2", "--set", "hidden_size=8"]) == 0
    return folder


def test_train_publishes_into_the_folder_that_was_named(folder):
    manifest = read_manifest(folder / "models" / "ae" / "1")
    assert manifest.name == "autoencoder"
    assert "hidden_size = 8\n" in manifest.config_toml
    assert {metric.protocol for metric in manifest.metrics} == {"given, on what training stopped by"}


def test_parquet_trains_the_same_model_as_csv(folder, tmp_path):
    argv = ["train", "--model", "autoencoder", "--train", f"{folder}/train.parquet", "--out", f"{tmp_path}/ae"]
    assert main([*argv, "--no-ray", "--seed", "1", "--set", "epochs=2", "--set", "hidden_size=8"]) == 0
    for name in ("train_sha256", "seen_sha256"):
        one, other = (
            json.loads((where / "1" / "training.json").read_text()) for where in (folder / "models/ae", tmp_path / "ae")
        )
        assert one[name] == other[name]


def test_evaluate_judges_by_the_test_file(folder, tmp_path, capsys):
    files = ["--train", f"{folder}/train.csv", "--test", f"{folder}/test.csv"]
    argv = ["evaluate", "--model-dir", f"{folder}/models/ae", *files, "--protocol", "leave-last-out"]
    assert main([*argv, "--out", f"{tmp_path}/report"]) == 0
    found = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert found["users"] == 31, "the others' test item is one that they had before"
    assert "ae/1" in found["models"]
    assert (tmp_path / "report" / "report.html").read_text().startswith("<!doctype html>")


def test_evaluate_refuses_a_test_that_training_has_seen(folder, capsys):
    files = ["--train", f"{folder}/test.csv", "--test", f"{folder}/train.csv"]
    argv = ["evaluate", "--model-dir", f"{folder}/models/ae", *files, "--protocol", "leave-last-out"]
    assert main(argv) == 1
    assert "leaks test data into training" in capsys.readouterr().err


def test_strong_asks_users_by_what_is_folded_in(folder, tmp_path):
    ratings = synthetic_ratings(seed=9, users=5)
    known, asked = (ratings.where(ratings.timestamp % 3 != 0), ratings.where(ratings.timestamp % 3 == 0))
    for part, name in ((known, "foldin"), (asked, "asked")):
        part.user_id[:] = [f"new-{user}" for user in part.user_id]
        write_ratings(part, tmp_path / f"{name}.csv")
    files = ["--train", f"{folder}/train.csv", "--test", f"{tmp_path}/asked.csv", "--fold-in", f"{tmp_path}/foldin.csv"]
    argv = [
        "evaluate",
        "--model-dir",
        f"{folder}/models/ae",
        *files,
        "--protocol",
        "strong",
        "--out",
        f"{tmp_path}/out",
    ]
    assert main(argv) == 0
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (found["protocol"], found["events"]["fold_in"]) == ("strong-generalisation", len(known))


def test_recommend_writes_ranked_lists_without_the_history(folder, tmp_path):
    (tmp_path / "users.txt").write_text("user-3\nnobody yet\nuser-3\n")
    argv = ["recommend", "--model-dir", f"{folder}/models/ae", "--history", f"{folder}/train.csv", "--k", "7"]
    assert main([*argv, "--out", f"{tmp_path}/all.parquet"]) == 0
    assert main([*argv, "--users", f"{tmp_path}/users.txt", "--out", f"{tmp_path}/some.csv"]) == 0
    table = parquet.read_table(tmp_path / "all.parquet").to_pylist()
    assert list(table[0]) == ["user_id", "item_id", "rank", "score"]
    history = {(row["user_id"], row["item_id"]) for row in csv.read_csv(folder / "train.csv").to_pylist()}
    assert not history & {(row["user_id"], row["item_id"]) for row in table}
    by_user = {}
    for row in table:
        by_user.setdefault(row["user_id"], []).append(row)
    assert len(by_user) == 40
    for rows in by_user.values():
        assert [row["rank"] for row in rows] == list(range(1, 8))
        assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    some = csv.read_csv(tmp_path / "some.csv").to_pylist()
    assert [row["user_id"] for row in some] == ["user-3"] * 7 + ["nobody yet"] * 7
    assert [row["item_id"] for row in some[:7]] == [row["item_id"] for row in by_user["user-3"]]


def test_recommend_says_what_is_wrong(folder, tmp_path, capsys):
    (tmp_path / "empty.txt").write_text("\n")
    argv = ["recommend", "--model-dir", f"{folder}/models/ae", "--history", f"{folder}/train.csv"]
    for more, says in (
        (["--out", "lists.json"], "should end in .parquet or .csv"),
        (["--out", f"{tmp_path}/a.csv", "--users", f"{tmp_path}/empty.txt"], "names no user"),
        (["--out", f"{tmp_path}/a.csv", "--users", f"{tmp_path}/none.txt"], "No such file"),
        (["--out", f"{tmp_path}/a.csv", "--model-dir", f"{tmp_path}/none"], "has no version of a model"),
    ):
        assert main([*argv, *more]) == 1
        assert says in capsys.readouterr().err
    assert not (tmp_path / "a.csv").exists()


def test_crossval_judges_each_fold_and_their_mean(folder, tmp_path, capsys):
    argv = ["crossval", "--model", "autoencoder", "--train", f"{folder}/train.csv", "--folds", "3", "--epochs", "1"]
    argv += ["--no-ray", "--out", f"{tmp_path}/cv"]
    assert main(argv) == 0
    assert "mean over 3 folds" in capsys.readouterr().out
    found = json.loads((tmp_path / "cv" / "crossval.json").read_text())
    assert [fold["fold"] for fold in found["folds"]] == [0, 1, 2]
    assert found["folds"][0]["figures"].keys() == found["mean"].keys() >= {"autoencoder", "popularity"}
    tested = [fold["figures"]["popularity"][0]["user_count"] for fold in found["folds"]]
    assert sum(tested) == 38, "each user once, but two who come back to old items alone"
    values = [fold["figures"]["autoencoder"][0]["value"] for fold in found["folds"]]
    mean = found["mean"]["autoencoder"][0]
    assert mean["value"] == pytest.approx(sum(values) / 3)
    assert mean["lower"] < mean["value"] < mean["upper"]
    report = (tmp_path / "cv" / "report.html").read_text()
    assert report.count("<svg") == 2 * len(found["mean"]["autoencoder"])
    assert "autoencoder on 3 folds of the users" in report

    # A fold that is finished is not run again; another question is not answered from the same folder.
    (tmp_path / "cv" / "fold-1.json").unlink()
    assert main(argv) == 0
    assert "2 of 3 folds were finished before" in (err := capsys.readouterr().err)
    assert "fold 2: epoch 1" in err
    assert "fold 1: epoch 1" not in err
    again = json.loads((tmp_path / "cv" / "crossval.json").read_text())
    assert again["mean"] == found["mean"]
    assert main([*argv, "--seed", "5"]) == 1
    assert "belongs to another cross-validation" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--no-ray"], [], ["--workers", "2"]])
def test_too_few_users_for_the_folds_are_refused_before_anything_starts(more, tmp_path, capsys):
    rows = [f"user-{user},film-{item},5,{item}" for user in range(4) for item in range(6)]
    (tmp_path / "few.csv").write_text("\n".join(["user_id,item_id,rating,timestamp", *rows]))
    argv = ["crossval", "autoencoder", "--ratings", f"{tmp_path}/few.csv", "--folds", "5", "--out", f"{tmp_path}/cv"]
    assert main([*argv, *more]) == 1
    said = capsys.readouterr().err
    assert "4 users cannot be dealt to 5 folds" in said
    assert "Ask for fewer --folds" in said
    assert "starting" not in said
    assert not (tmp_path / "cv").exists()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["train", "rnn", "--train", "a.csv", "--ratings", "b.csv"], "--train and --ratings exclude each other"),
        (["train", "rnn", "--valid", "a.csv"], "--valid goes with --train"),
        (["train", "rnn", "autoencoder", "--out", "m"], "--out is the folder of one model"),
        (["train", "rnn", "--train", "a.csv", "--protocol", "temporal"], "with --train nothing is split"),
        (["evaluate", "rnn", "--train", "a.csv"], "--train and --test go together"),
        (["evaluate", "rnn", "--fold-in", "a.csv"], "go with --train and --test"),
        (["evaluate"], "which model?"),
        (["crossval", "rnn", "autoencoder"], "one model at a time"),
        (["crossval", "rnn", "--folds", "2"], "'2' is not a whole number of 3"),
    ],
)
def test_arguments_that_do_not_go_together_are_named(argv, says, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert says in capsys.readouterr().err
