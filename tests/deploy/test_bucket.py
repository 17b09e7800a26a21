"""The scripts that carry models through a bucket, with rclone itself; a folder stands for the bucket."""

import shutil
import subprocess

import pytest
from tests.deploy.manifests import K8S

pytestmark = [pytest.mark.skipif(shutil.which("rclone") is None, reason="rclone is not installed"), pytest.mark.slow]


def _run(script, *arguments):
    path = K8S / "components" / "bucket" / script
    run = subprocess.run(["sh", path, *map(str, arguments)], capture_output=True, text=True, check=True, timeout=60)
    return run.stdout.splitlines()


@pytest.fixture
def published(tmp_path):
    for number in (1, 2):
        version = tmp_path / "models" / "rnn" / str(number) / "variables"
        version.mkdir(parents=True)
        (version / "data").write_text(f"weights {number}")
    (tmp_path / "bucket").mkdir()
    return tmp_path


def test_versions_go_through_a_bucket_once_each(published):
    assert _run("push.sh", published / "models", published / "bucket") == ["pushed rnn/1", "pushed rnn/2"]
    assert _run("push.sh", published / "models", published / "bucket") == []
    assert sorted(_run("pull.sh", published / "bucket", published / "served")) == ["pulled rnn/1", "pulled rnn/2"]
    assert _run("pull.sh", published / "bucket", published / "served") == []
    assert (published / "served/rnn/2/variables/data").read_text() == "weights 2"
    assert sorted(path.name for path in (published / "served" / "rnn").iterdir()) == ["1", "2"]


def test_a_version_that_is_still_being_uploaded_is_not_served(published):
    _run("push.sh", published / "models", published / "bucket")
    (published / "bucket" / "rnn" / "2.complete").unlink()
    (published / "served" / "rnn" / ".incoming-1").mkdir(parents=True)  # of a pull that was killed
    (published / "served" / "rnn" / ".incoming-1" / "half").touch()
    assert _run("pull.sh", published / "bucket", published / "served") == ["pulled rnn/1"]
    assert [path.name for path in (published / "served" / "rnn").iterdir()] == ["1"]
    assert not (published / "served" / "rnn" / "1" / "half").exists()
