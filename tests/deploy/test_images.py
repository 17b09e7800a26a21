"""Each image builds: the Dockerfile's own instructions, run in an empty folder, since no container engine is at hand.

COPY is a copy, RUN a shell; the absolute paths that the build writes to lie below the folder. Left out are the settings
that keep uv from its cache, make it copy files out of it and compile all bytecode: they cost time here.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.deploy.manifests import ROOT, dockerfile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_SKIPPED_SETTINGS = ("UV_COMPILE_BYTECODE", "UV_LINK_MODE", "UV_NO_CACHE")
_FOLDERS = ("/opt/tastemaker", "/build", "/dist", "/empty", "/src")
_BASE_MEGABYTES = 125
"""What python:3.12-slim takes, unpacked, rounded up; not measured here."""


def _build(image: str, folder: Path) -> Path:
    """Runs the build stage; returns the environment that the image gets."""

    def placed(text: str) -> str:
        for name in _FOLDERS:
            text = re.sub(rf"(?<![\w/.]){name}(?![\w])", f"{folder}{name}", text)
        return text

    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", str(folder))}
    for name in os.environ:  # where packages come from is the machine's business
        if name.startswith(("PIP_", "SSL_", "UV_")) or name.lower().endswith("_proxy"):
            environment[name] = os.environ[name]
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
    environment["PATH"] = f"{folder}/bin:{environment['PATH']}"
    work = folder
    for instruction, argument in dockerfile(image).build:
        if instruction in ("ARG", "ENV"):
            pairs = dict(pair.split("=", 1) for pair in argument.split())
            environment |= {name: value for name, value in pairs.items() if name not in _SKIPPED_SETTINGS}
        elif instruction == "WORKDIR":
            work = Path(placed(argument))
            work.mkdir(parents=True)
        elif instruction == "COPY":
            *sources, target = argument.split()
            for source in sources:
                if (ROOT / source).is_dir():
                    ignored = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(ROOT / source, work / target, ignore=ignored)
                else:
                    shutil.copy(ROOT / source, work / target)
        elif instruction == "RUN":
            run = subprocess.run(
                ["sh", "-ec", placed(argument)],
                cwd=work,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert run.returncode == 0, f"RUN {argument}\n{run.stdout}"
        else:
            raise AssertionError(f"the test does not know {instruction}")
    return folder / "opt" / "tastemaker"


def _run(installed: Path, *command: str) -> str:
    """Runs a program of the image, with nothing of this project's own environment."""
    run = subprocess.run(
        [installed / "bin" / command[0], *command[1:]],
        cwd=installed.parent,
        env={"PATH": "/usr/bin:/bin", "HOME": str(installed.parent), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


@pytest.fixture
def folder(tmp_path):
    """An empty folder, emptied again: an environment with TensorFlow in it takes gigabytes."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def test_front_image_is_small_and_has_no_tensorflow(folder):
    installed = _build("front", folder)
    shown = _run(installed, "tastemaker-server", "--check-config", "--config", str(ROOT / "deploy/docker/front.toml"))
    assert '"address": "0.0.0.0:50051"' in shown
    _run(installed, "tastemaker", "health", "--help")
    packages = next(installed.glob("lib/python3*/site-packages"))
    for heavy in ("tensorflow", "ray", "numpy", "pytest"):
        assert not (packages / heavy).exists()
    assert (packages / "tastemaker_server").is_dir()
    size = _megabytes(installed)
    assert _BASE_MEGABYTES + size < 200, f"{size:.0f} MB beside the base"


def test_model_server_image_has_what_it_imports(folder):
    installed = _build("modelserver", folder)
    assert "tastemaker-modelserver" in _run(installed, "tastemaker-modelserver", "--help")
    _run(installed, "python", "-c", "import tastemaker_modelserver.server")
    _run(installed, "tastemaker", "health", "--help")


def test_jobs_image_has_what_it_imports(folder):
    installed = _build("jobs", folder)
    assert "train" in _run(installed, "tastemaker-jobs", "--help")
    _run(installed, "tastemaker-server", "--check-config")
    _run(
        installed,
        "python",
        "-c",
        "import mlflow, ray.train, tastemaker_jobs.commands.train, tastemaker_jobs.models.rnn",
    )
    assert "submit" in _run(installed, "ray", "job", "--help")
