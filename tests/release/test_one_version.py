"""There is one version, pyproject.toml's: programs, images, other languages' clients and the changelog agree."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
_VERSION = _PROJECT["version"]


def test_installed_version_is_that_of_the_project() -> None:
    assert metadata.version("tastemaker") == _VERSION, "install it anew: make venv"


@pytest.mark.parametrize("program", sorted(_PROJECT["scripts"]))
def test_programs_say_the_version(program: str) -> None:
    said = subprocess.run(
        [Path(sys.executable).with_name(program), "--version"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    # TensorFlow Serving's flag begins with its own words; what reads it is to find the version there.
    wanted = f"{program} {_VERSION}"
    first = said.splitlines()[0]
    assert first == (f"TensorFlow ModelServer: {wanted}" if program == "tastemaker-modelserver" else wanted)


def test_image_tags_are_the_version() -> None:
    tags = {}
    for folder in ("deploy", "docs"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "benchmarks" not in path.name:
                found = re.findall(r"tastemaker/(?:front|jobs|modelserver):([\w.]+)", path.read_text("utf-8"))
                found += re.findall(r"newTag: ([\d.]+)-gpu\n", path.read_text("utf-8")) if "gpu" in str(path) else []
                tags[path] = set(found)
    assert sum(map(bool, tags.values())) > 5
    wrong = {str(path.relative_to(ROOT)): found for path, found in tags.items() if found - {_VERSION}}
    foreign = {"deploy/k8s/overlays/gpu/kustomization.yaml": {"2.21.0"}}  # tensorflow/serving's
    assert {path: found for path, found in wrong.items() if foreign.get(path) != found - {_VERSION}} == {}


def test_clients_in_other_languages_have_the_version() -> None:
    for path in (ROOT / "clients").glob("*/package.json"):
        assert json.loads(path.read_text("utf-8"))["version"] == _VERSION, path
    for path in (ROOT / "clients").glob("*/pom.xml"):
        assert f"<version>{_VERSION}</version>" in path.read_text("utf-8"), path


def test_changelog_has_the_version_or_says_unreleased() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased" or headings[0].startswith(f"{_VERSION} ("), "the newest comes first"
