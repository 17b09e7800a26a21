"""`train --workers`: on a Ray of its own, with a worker killed, then the driver and the whole cluster, and resumed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from tastemaker_jobs.cli import main
from tastemaker_jobs.errors import ClusterTooSmallError, DataError, TooFewRatingsError
from tastemaker_jobs.publishing.manifests import read_manifest
from tastemaker_jobs.testing.synthetic import synthetic_ratings, write_ratings
from tastemaker_jobs.testing.synthetic_items import plain_image
from tastemaker_jobs.training.request import Workers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(500),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # Ray Data warns of settings of its own
]
pytest.importorskip("ray")


class Run:
    """A `train --workers` in a process of its own."""

    def __init__(self, folder, *more):
        argv = ["train", "autoencoder", "--workers", "2", "--run-id", "r", "--storage", f"{folder}/runs"]
        argv += ["--ratings", f"{folder}/ratings.csv", "--models-dir", f"{folder}/models", "--epochs", "20000"]
        argv += ["--set", "patience_epochs=300", "--checkpoint-every", "5", *more]
        self.log = folder / f"{time.monotonic()}.log"
        with self.log.open("w") as log:
            self.process = psutil.Popen([sys.executable, "-m", "tastemaker_jobs.cli", *argv], stdout=log, stderr=log)

    def wait_for(self, text, seconds=150):
        deadline = time.monotonic() + seconds
        while text not in self.said():
            assert time.monotonic() < deadline, self.said()
            assert self.process.poll() is None, self.said()
            time.sleep(0.2)

    def said(self):
        return self.log.read_text()

    def descendants(self):
        return self.process.children(recursive=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("on-ray-train")
    write_ratings(synthetic_ratings(seed=3), made / "ratings.csv")
    return made


@pytest.mark.faults
def test_a_killed_worker_is_replaced_and_a_killed_cluster_resumed(folder):
    first = Run(folder)
    everyone = []
    try:
        first.wait_for("epoch 100 of at most 20000")  # Ray notes checkpoints every second or two
        workers = [process for process in first.descendants() if "RayTrainWorker" in "".join(process.cmdline())]
        assert len(workers) == 2
        workers[1].kill()
        first.wait_for("going on after epoch")
        first.wait_for("epoch 200 of at most 20000")
        everyone = [first.process, *first.descendants()]
    finally:
        for process in everyone or [first.process, *first.descendants()]:  # driver, head and workers alike
            if process.is_running():
                process.kill()
        first.process.wait(30)
    assert not (folder / "models" / "autoencoder" / "1").exists(), "nothing half-trained was published"

    second = Run(folder)
    assert second.process.wait(300) == 0, second.said()
    for run in (first, second):
        assert int(run.said().partition("going on after epoch ")[2].split()[0]) >= 1, run.said()
    assert "epoch 1 of at most" not in second.said(), "what was trained is not trained again"
    assert read_manifest(folder / "models" / "autoencoder" / "1").metrics
    kept = [path for path in (folder / "runs" / "r-autoencoder").glob("checkpoint_*") if path.is_dir()]
    assert 1 <= len(kept) <= 2, "the newest and the best"


def test_two_workers_train_an_image_classifier_and_say_what_mixed_precision_does(tmp_path, capsys):
    colours = {"red": (200, 40, 40), "blue": (40, 40, 200)}
    names = [list(colours)[number % 2] for number in range(60)]
    images = [plain_image(colours[name], height=8, width=8, seed=number) for number, name in enumerate(names)]
    table = pa.table({"id": list(map(str, range(60))), "image": images, "label": names})
    pq.write_table(table, tmp_path / "images.parquet")
    argv = ["train", "image_cnn", "--train", f"{tmp_path}/images.parquet", "--models-dir", f"{tmp_path}/models"]
    argv += ["--workers", "2", "--storage", f"{tmp_path}/runs", "--run-id", "r", "--epochs", "3"]
    argv += ["--set", "height=8", "--set", "width=8", "--set", "filters=[8]", "--set", "batch_size=16"]
    code, said = main([*argv, "--mixed-precision"]), capsys.readouterr().err
    assert code == 0, said
    cpu = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    short, whole = "multiplying in 16 bits", "this processor multiplies in 32 bits, --mixed-precision or not"
    assert f"image_cnn: {short if 'avx512f' in cpu.split() else whole}" in said
    (figure,) = read_manifest(tmp_path / "models" / "image_cnn" / "1").metrics
    assert (figure.name, figure.value) == ("accuracy", 1.0)
    shards = sorted((tmp_path / "runs" / "r-image_cnn" / "shards").iterdir())
    assert [pq.read_metadata(path).num_rows for path in shards] == [27, 27], "a tenth is held out"


def test_folds_are_trained_by_workers_and_keep_their_checkpoints_apart_in_a_bucket(folder, s3_bucket, tmp_path, capsys):
    argv = ["crossval", "autoencoder", "--ratings", f"{folder}/ratings.csv", "--folds", "3", "--out", f"{tmp_path}/out"]
    argv += ["--workers", "2", "--storage", s3_bucket.format("runs"), "--run-id", "cv", "--epochs", "2"]
    assert main(argv) == 0, capsys.readouterr().err
    found = json.loads((tmp_path / "out" / "crossval.json").read_text())
    assert [fold["epochs"] for fold in found["folds"]] == [2, 2, 2]
    bucket, runs = fs.FileSystem.from_uri(s3_bucket.format("runs"))
    names = sorted(found.base_name for found in bucket.get_file_info(fs.FileSelector(runs)))
    assert [name for name in names if name.startswith("cv")] == [f"cv-fold-{n}-autoencoder" for n in (1, 2, 3)]
    for name in names[-3:]:
        inside = [found.base_name for found in bucket.get_file_info(fs.FileSelector(f"{runs}/{name}"))]
        assert 1 <= len([found for found in inside if found.startswith("checkpoint_2")]) <= 2, inside


@pytest.mark.faults
def test_a_full_disk_ends_all_workers_and_is_named(folder, tmp_path, capsys):
    """A file system of two megabytes, which a checkpoint does not fit into."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", small], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    argv = ["train", "autoencoder", "--ratings", f"{folder}/ratings.csv", "--models-dir", f"{tmp_path}/models"]
    argv += ["--epochs", "5", "--set", "hidden_size=256", "--set", "middle_size=1024", "--run-id", "full"]
    argv += ["--workers", "2", "--storage"]
    try:
        assert main([*argv, f"{small}/runs"]) == 1
    finally:
        subprocess.run(["umount", "-l", small], check=True)
    said = capsys.readouterr().err
    assert "autoencoder: the checkpoint of epoch 1 cannot be written" in said
    assert "No space left on device" in said
    assert f"Make room in --storage {small}/runs, and go on with --run-id full" in said
    assert not list((tmp_path / "models").glob("*/1")), "nothing was published"


def test_what_workers_cannot_do_is_said_at_once(folder, tmp_path, capsys):
    train = ["train", "ease", "--ratings", f"{folder}/ratings.csv", "--models-dir", f"{tmp_path}/models"]
    (tmp_path / "file").write_text("")
    assert main([*train, "--workers", "2", "--storage", f"{tmp_path}/file/runs"]) == 1
    assert f"--storage {tmp_path}/file/runs cannot be written" in capsys.readouterr().err
    assert main([*train, "--workers", "2", "--storage", f"{tmp_path}/runs"]) == 1
    assert "ease is computed, not trained step by step" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["train"], ["crossval", "--folds", "3"]])
def test_more_workers_than_the_cluster_has_are_refused_with_what_is_asked_and_what_is_there(
    command, folder, tmp_path, capsys
):
    argv = [*command, "autoencoder", "--ratings", f"{folder}/ratings.csv", "--workers", "30", "--cores", "2"]
    argv += ["--storage", f"{tmp_path}/runs"]
    assert main([*argv, *(["--models-dir", f"{tmp_path}/models"] if command == ["train"] else [])]) == 1
    said = capsys.readouterr().err
    assert (
        "error: asked for 30 workers of 2 cores each, and one core to read data, 61 cores in all; the cluster" in said
    )
    assert f"has {(os.cpu_count() or 1) + 1} cores and " in said
    assert "Ask for fewer --workers, or add nodes." in said
    assert not list((tmp_path / "models").glob("*/[0-9]*"))


def test_a_run_that_cannot_be_shared_or_is_another_one_is_refused(folder, tmp_path):
    from tastemaker_jobs.data.ratings import read_ratings
    from tastemaker_jobs.data.vocabulary import Vocabulary
    from tastemaker_jobs.models.autoencoder import Autoencoder, AutoencoderConfig
    from tastemaker_jobs.models.training_data import TrainingData
    from tastemaker_jobs.on_ray_train import fit_on_workers
    from tastemaker_jobs.ray_cluster import connected
    from tastemaker_jobs.training.validation import Validation

    events = read_ratings(folder / "ratings.csv").in_time_order()
    config, vocabulary = AutoencoderConfig(), Vocabulary.of(sorted(set(events.item_id)))
    data = TrainingData.of(events, vocabulary, config=config)
    model = Autoencoder(config, item_count=data.item_count, seed=0)

    def fit(workers, seed=0):
        validation = Validation(vocabulary, {}, {})
        fit_on_workers(model, data, validation=validation, seed=seed, report=lambda _: None, workers=workers)

    def workers(count):
        return Workers(count, storage=f"{tmp_path}/runs", run_id="r")

    with pytest.raises(TooFewRatingsError, match=r"users cannot be shared by 6400 workers. Ask for fewer --workers"):
        fit(workers(6400))
    with (
        connected(None),
        pytest.raises(ClusterTooSmallError, match=r"asked for 30 workers of 1 core each.*the cluster has \d+ cores"),
    ):
        fit(workers(30))
    with pytest.raises(DataError, match="is of another run: other data, settings, seed or number of workers"):
        fit(workers(30), seed=1)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--gpu"], "--gpu goes with --workers"),
        (["--run-id", "a"], "--run-id goes with --workers"),
        (["--workers", "2", "--no-ray"], "leave --no-ray out"),
        (["--workers", "2", "--run-id", "a/b"], "give letters, digits"),
        (["--workers", "0"], "'0' is not a whole number of 1"),
    ],
)
def test_arguments_of_workers_that_do_not_go_together_are_named(more, says, capsys):
    with pytest.raises(SystemExit):
        main(["train", "rnn", *more])
    assert says in capsys.readouterr().err
