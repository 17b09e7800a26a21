"""Training watched from elsewhere: TensorBoard's event files, and a real MLflow store."""

import pytest

from tastemaker_jobs.cli import main
from tastemaker_jobs.testing.synthetic import synthetic_ratings, write_ratings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]
tf = pytest.importorskip("tensorflow")


@pytest.fixture
def argv(tmp_path):
    ratings = write_ratings(synthetic_ratings(seed=3), tmp_path / "ratings.csv")
    argv = ["train", "autoencoder", "--no-ray", "--ratings", str(ratings), "--epochs", "2"]
    return [*argv, "--models-dir", f"{tmp_path}/models"]


def test_epochs_and_figures_reach_tensorboard(argv, tmp_path, capsys):
    assert main([*argv, "--tensorboard", f"{tmp_path}/board"]) == 0
    found = []
    for path in (tmp_path / "board" / "autoencoder").iterdir():
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            found += [(value.tag, event.step) for value in event.summary.value]
    assert [step for tag, step in found if tag == "loss"] == [1, 2]
    assert ("validation_NDCG_10", 2) in found
    assert ("test_ndcg_10", 2) in found
    (tmp_path / "file").write_text("")
    assert main([*argv, "--tensorboard", f"{tmp_path}/file"]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # MLflow's own
def test_runs_reach_mlflow_and_one_that_failed_says_so(argv, tmp_path, monkeypatch, capsys):
    mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")
    uri = (tmp_path / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert main(argv) == 0
    assert main([*argv, "--set", "min_rating=99"]) == 1
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("ratings")
    runs = {run.info.status: run for run in client.search_runs([experiment.experiment_id])}
    assert runs.keys() == {"FINISHED", "FAILED"}
    run = runs["FINISHED"]
    assert run.data.params == {"model": "autoencoder", "seed": "0", "epochs": "2"}
    assert run.data.tags["version_dir"] == f"{tmp_path}/models/autoencoder/1"
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [1, 2]
    assert 0 <= run.data.metrics["test ndcg at 10"] <= 1
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{tmp_path}/ratings.csv")
    capsys.readouterr()
    assert main(argv) == 1
    assert "unset MLFLOW_TRACKING_URI" in capsys.readouterr().err
