"""Search of settings, on a Ray of its own: to its end, cut off and gone on with, and refused."""

import json
import sys
import time
import tomllib

import psutil
import pytest

from tastemaker_jobs.cli import main
from tastemaker_jobs.data.contents import contents_of
from tastemaker_jobs.data.data_files import DataFiles
from tastemaker_jobs.search_record import claim_search
from tastemaker_jobs.testing.synthetic import synthetic_ratings, write_ratings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
pytest.importorskip("ray")
pytest.importorskip("optuna")


class Search:
    """`tune` on a folder, of which Ray Tune's own notes are read."""

    def __init__(self, folder, *, trials, more=()):
        self.out, self.log = folder / "tuned", folder / "log"
        ratings = folder / "ratings.csv"
        self.argv = ["tune", "--model", "autoencoder", "--ratings", str(ratings), "--trials", str(trials)]
        self.argv += ["--out", str(self.out), *more]

    def start(self):
        with self.log.open("w") as log:
            return psutil.Popen([sys.executable, "-m", "tastemaker_jobs.cli", *self.argv], stdout=log, stderr=log)

    def finished(self):
        """Ids of the trials that the newest state of the search has as finished."""
        states = sorted(self.out.glob("search/experiment_state-*.json"))
        if not states:
            return set()
        try:
            state = json.loads(states[-1].read_text())
        except json.JSONDecodeError:  # it is being written
            return set()
        trials = [json.loads(trial) for trial, _ in state["trial_data"]]
        return {trial["trial_id"] for trial in trials if trial["status"] == "TERMINATED"}

    def results(self, trial_id):
        """What a trial reported, and when last."""
        (path,) = self.out.glob(f"search/*{trial_id}*/result.json")
        return path.read_text(), path.stat().st_mtime_ns


@pytest.mark.faults
def test_a_search_that_is_killed_goes_on_and_trains_no_finished_trial_again(ratings_csv, tmp_path, capsys):
    search = Search(tmp_path, trials=5, more=["--epochs", "8", "--set", "hidden_size=8"])
    process = search.start()
    everyone = []
    try:
        deadline = time.monotonic() + 200
        while not search.finished():
            assert time.monotonic() < deadline, search.log.read_text()
            assert process.poll() is None, search.log.read_text()
            time.sleep(0.1)
        everyone = [process, *process.children(recursive=True)]
    finally:
        for one in everyone or [process, *process.children(recursive=True)]:
            if one.is_running():
                one.kill()
        process.wait(30)
    finished = search.finished()
    assert 1 <= len(finished) < 5, "it was cut off half-way"
    before = {trial: search.results(trial) for trial in finished}
    assert not (search.out / "best.toml").exists()

    assert main(search.argv) == 0
    said = capsys.readouterr().err
    assert "going on with the search that is there" in said
    assert f"autoencoder: trials finished before: {len(finished)}\n" in said
    numbers = [int(line.split("trial ")[1].split(":")[0]) for line in said.splitlines() if ": trial " in line]
    assert numbers == list(range(len(finished) + 1, 6)), "each of the others, and none of those"
    assert {trial: search.results(trial) for trial in finished} == before, "not trained again"
    assert len(search.finished()) == 5
    text = (search.out / "best.toml").read_text()
    best = tomllib.loads(text)
    assert (best["epochs"], best["hidden_size"]) == (8, 8), "what is fixed stays"
    assert "the best of 5 trials" in text

    assert main(search.argv) == 0
    said = capsys.readouterr().err
    assert "autoencoder: trials finished before: 5\n" in said
    assert ": trial " not in said
    assert (search.out / "best.toml").read_text() == text
    models = ["train", "--model", "autoencoder", "--ratings", str(ratings_csv), "--out", str(tmp_path / "ae")]
    assert main([*models, "--config", str(search.out / "best.toml"), "--no-ray"]) == 0


def test_a_model_that_is_computed_is_tuned_and_what_ray_cannot_go_on_with_is_one_error(ratings_csv, tmp_path, capsys):
    argv = ["tune", "ease", "--ratings", str(ratings_csv), "--trials", "2", "--out", str(tmp_path / "ease")]
    assert main(argv) == 0, capsys.readouterr().err
    assert tomllib.loads((tmp_path / "ease" / "best.toml").read_text())["l2"] != 200.0
    assert "trial 2: validation NDCG@10 0." in capsys.readouterr().err

    for state in (tmp_path / "ease" / "search").glob("experiment_state-*.json"):
        state.write_text("half of a st")
    assert main(argv) == 1
    said = capsys.readouterr().err
    assert "error: ease: Ray did not go on with the search in" in said
    assert "Traceback" not in said


def test_a_folder_of_another_search_is_refused_and_says_what_differs(ratings_csv, tmp_path, capsys):
    """Before Ray starts."""
    argv = ["tune", "ease", "--ratings", str(ratings_csv), "--trials", "2", "--out", str(tmp_path)]
    from tastemaker_jobs.models.ease import Ease

    data = contents_of(DataFiles(ratings_csv, "ratings"))
    question = {
        "model": "ease",
        "trials": 2,
        "seed": 0,
        "settings": {},
        "data": data,
        "search space": Ease.search_space,
    }
    claim_search(tmp_path, question)
    claim_search(tmp_path, question)
    for more, differs in (
        (["--trials", "3"], "trials"),
        (["--seed", "1"], "seed"),
        (["--set", "max_items=500"], "settings"),
        (["--protocol", "temporal"], "data"),
        (["--model", "item_knn"], "model and search space"),
    ):
        given = [word for word in argv if word != "ease"] if "--model" in more else argv
        assert main([*given, *more]) == 1
        assert f"{tmp_path} is of another search, with other {differs}. Name an empty" in capsys.readouterr().err
    write_ratings(synthetic_ratings(seed=4), ratings_csv)
    assert main(argv) == 1
    assert "with other data" in capsys.readouterr().err
    (tmp_path / "search.json").write_text("{")
    assert main(argv) == 1
    assert "search.json cannot be read" in capsys.readouterr().err


def test_what_cannot_be_tuned_is_named(ratings_csv, tmp_path, capsys):
    argv = ["tune", "--ratings", str(ratings_csv), "--out", str(tmp_path)]
    fixed = ["input_dropout=0.5", "learning_rate=0.1", "weight_decay=0.1", "hidden_size=3"]
    for more, says in (
        (["autoencoder", "--set", "depth=3"], "no setting 'depth'"),
        (["autoencoder", *(part for text in fixed for part in ("--set", text))], "no search space left"),
    ):
        assert main([*argv, *more]) == 1
        assert says in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*argv, "image_cnn"])
    assert "image_cnn is not tuned; those that are: als, autoencoder" in capsys.readouterr().err
