"""Base and each extra, installed into an empty environment, run what they promise."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from tests.release.conftest import Installed

from tastemaker.tfserving.v1 import model_status_pb2
from tastemaker_jobs.registry.serving import connected_to
from tastemaker_jobs.testing.synthetic import synthetic_ratings, write_ratings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

Install = Callable[..., Installed]

_SAVE_A_MODEL = """
import sys
import tensorflow as tf
module = tf.Module()
module.double = tf.function(lambda x: {"y": 2 * x}, input_signature=[tf.TensorSpec([None], tf.float32, "x")])
tf.saved_model.save(module, sys.argv[1], signatures={"serving_default": module.double})
"""


@contextlib.contextmanager
def _running(installed: Installed, name: str, *arguments: object) -> Iterator[Path]:
    """A program that serves, ended with SIGTERM; yields its log."""
    log = installed.folder / f"{name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [installed.program(name), *map(str, arguments)],
            cwd=installed.folder,
            env=installed.environment,
            stdout=output,
            stderr=output,
        )
    try:
        yield log
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        assert process.wait(30) == 0, log.read_text()


def test_base_is_the_client_and_each_other_program_names_its_extra(install: Install) -> None:
    base = install()
    assert "recommend" in base.run("tastemaker", "--help").stdout
    assert base.run("tastemaker", "--version").stdout.startswith("tastemaker ")
    for extra in ("server", "modelserver", "jobs"):
        ended = base.run(f"tastemaker-{extra}", "--help")
        assert ended.returncode == 2
        assert f"; pip install 'tastemaker[{extra}]'" in ended.stderr
        assert "Traceback" not in ended.stderr
    refused = base.run("tastemaker", "recommend", "--user", "u", "--surface", "home", "--address", "127.0.0.1:9")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    packages = next(base.folder.glob("lib/python3*/site-packages"))
    for heavy in ("numpy", "pydantic", "ray", "tensorflow"):
        assert not (packages / heavy).exists()


def test_a_base_client_talks_to_a_front_of_the_extra_server(install: Install, free_port: int) -> None:
    base, front = install(), install("server")
    (config := front.folder / "front.toml").write_text(
        f'[server]\naddress = "127.0.0.1:{free_port}"\n[surfaces.home]\ntiers = ["POPULAR"]\n'
    )
    where = ("--address", f"127.0.0.1:{free_port}")
    with _running(front, "tastemaker-server", "--config", config):
        ready = base.run("tastemaker", "health", "server", "--wait", "60", *where)
        assert ready.returncode == 0, ready.stderr
        stored = base.run("tastemaker", "feedback", "--user", "a", "--item", "i", "--type", "consume", *where)
        assert stored.returncode == 0, stored.stderr
        page = base.run("tastemaker", "recommend", "--user", "b", "--surface", "home", "--json", *where)
        assert '"item_id": "i"' in page.stdout


@pytest.mark.parametrize(
    ("extra", "setting"),
    [("redis", 'online_store = "redis://127.0.0.1:9/0"'), ("postgres", 'event_log = "postgresql://u@127.0.0.1:9/d"')],
)
def test_a_store_whose_extra_is_missing_names_it_and_works_with_it(install: Install, extra: str, setting: str) -> None:
    without, with_it = install("server"), install("server", extra)
    config = f'[server]\naddress = "127.0.0.1:0"\n[surfaces.home]\ntiers = ["POPULAR"]\n[stores]\n{setting}\n'
    for front in (without, with_it):
        (front.folder / "front.toml").write_text(config)
    refused = without.run("tastemaker-server", "--config", "front.toml")
    assert refused.returncode == 2
    assert f"pip install 'tastemaker[{extra}]'" in refused.stderr
    # With it, what is missing is the store itself: nobody listens on that port.
    refused = with_it.run("tastemaker-server", "--config", "front.toml")
    assert refused.returncode == 1, refused.stderr
    assert "pip install" not in refused.stderr
    assert "Traceback" not in refused.stderr


def test_parquet_brings_the_export(install: Install) -> None:
    without, with_it = install("server"), install("server", "parquet")
    for front in (without, with_it):
        (front.folder / "var" / "front").mkdir(parents=True)
        (front.folder / "var" / "front" / "events.db").touch()
    refused = without.run("tastemaker-server", "export-events", "--out", "events")
    assert refused.returncode == 2
    assert "pip install 'tastemaker[parquet]'" in refused.stderr
    done = with_it.run("tastemaker-server", "export-events", "--out", "events")
    assert done.returncode == 0, done.stderr
    assert (with_it.folder / "events" / "export.json").is_file()


def test_modelserver_serves_a_model(install: Install, free_port: int) -> None:
    installed = install("modelserver")
    saved = installed.run("python", "-c", _SAVE_A_MODEL, installed.folder / "double" / "1")
    assert saved.returncode == 0, saved.stderr
    flags = [f"--port={free_port}", "--model_name=double", f"--model_base_path={installed.folder}/double"]
    with _running(installed, "tastemaker-modelserver", *flags) as log:
        address = f"127.0.0.1:{free_port}"
        with grpc.insecure_channel(address, [("grpc.max_reconnect_backoff_ms", 200)]) as channel:
            grpc.channel_ready_future(channel).result(90)
        with connected_to(address) as serving:
            states = {version: status.state for version, status in serving.states("double").items()}
        assert states == {1: model_status_pb2.ModelVersionStatus.STATE_AVAILABLE}, log.read_text()


def test_jobs_train_a_model_and_list_it(install: Install) -> None:
    installed = install("jobs")
    assert "publish" in installed.run("tastemaker-jobs", "--help").stdout
    ratings = write_ratings(synthetic_ratings(seed=1), installed.folder / "ratings.csv")
    trained = installed.run("tastemaker-jobs", "train", "item_knn", "--no-ray", "--ratings", ratings)
    assert trained.returncode == 0, trained.stderr
    listed = installed.run("tastemaker-jobs", "models", "list")
    assert "item_knn" in listed.stdout
    assert installed.run("python", "-c", "import ray.train, ray.data").returncode == 0


def test_mlflow_brings_the_tracking_client(install: Install) -> None:
    installed = install("mlflow")
    found = installed.run("python", "-c", "import mlflow; print(mlflow.__version__)")
    assert found.returncode == 0, found.stderr


def test_gpu_resolves_to_tensorflow_with_cuda(install: Install) -> None:
    """Not installed: CUDA's wheels take gigabytes."""
    said = (install("modelserver", "gpu", dry_run=True).folder / "installed").read_text()
    assert "nvidia-cudnn" in said
    assert "tensorflow==" in said


def test_every_extra_is_installed_by_a_test_here() -> None:
    import tomllib

    from tests.release.conftest import ROOT

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    tested = {"gpu", "jobs", "mlflow", "modelserver", "parquet", "postgres", "redis", "server"}
    assert set(extras) - {"dev"} == tested
