"""Search of settings, on a Ray of its own."""

import tomllib

import pytest

from tastemaker_jobs.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
pytest.importorskip("ray")
pytest.importorskip("optuna")


def test_tune_writes_the_winner_and_goes_on_where_it_was(ratings_csv, tmp_path, capsys):
    out = tmp_path / "tuned"
    argv = ["tune", "--model", "autoencoder", "--ratings", str(ratings_csv), "--trials", "2", "--out", str(out)]
    argv += ["--epochs", "3", "--set", "hidden_size=8"]
    assert main(argv) == 0
    text = (out / "best.toml").read_text()
    best = tomllib.loads(text)
    assert (best["epochs"], best["hidden_size"]) == (3, 8), "what is fixed stays"
    assert "the best of 2 trials" in text
    first = capsys.readouterr()
    assert first.out.strip() == str(out / "best.toml")
    assert "trial 2: validation NDCG@10" in first.err
    again = main(argv)
    assert again == 0
    assert "going on with the search that is there" in (err := capsys.readouterr().err)
    assert "trial 1" not in err, "what was finished is not run again"
    assert (out / "best.toml").read_text() == text
    models = ["train", "--model", "autoencoder", "--ratings", str(ratings_csv), "--out", str(tmp_path / "ae")]
    assert main([*models, "--config", str(out / "best.toml"), "--no-ray"]) == 0


def test_what_cannot_be_tuned_is_named(ratings_csv, tmp_path, capsys):
    argv = ["tune", "--ratings", str(ratings_csv), "--out", str(tmp_path)]
    fixed = ["input_dropout=0.5", "learning_rate=0.1", "weight_decay=0.1", "hidden_size=3"]
    for more, says in (
        (["autoencoder", "--set", "depth=3"], "no setting 'depth'"),
        (["autoencoder", *(part for text in fixed for part in ("--set", text))], "no search space left"),
    ):
        assert main([*argv, *more]) == 1
        assert says in capsys.readouterr().err
