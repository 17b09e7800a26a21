"""What the wheel and the sdist hold."""

import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from tests.release.conftest import ROOT, Distribution, build

pytestmark = pytest.mark.slow

_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
_ROOTS = [Path(folder) for folder in _PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
_NOT_SHIPPED = {"__pycache__", ".mypy_cache", ".ruff_cache", "node_modules"}


def _checked_out() -> set[str]:
    """Every file of every package, as the wheel should name it."""
    return {
        str(path.relative_to(ROOT / root.parent))
        for root in _ROOTS
        for path in (ROOT / root).rglob("*")
        if path.is_file() and not _NOT_SHIPPED & set(path.parts)
    }


def _wheel_files(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted(archive.namelist())


def test_wheel_holds_every_file_of_every_package_and_no_other(distribution: Distribution) -> None:
    files = {name for name in _wheel_files(distribution.wheel) if ".dist-info/" not in name}
    assert files == _checked_out()
    for name in ("tastemaker/v1/recommendation_service.proto", "tastemaker/v1/service_config.json"):
        assert name in files
    for root in _ROOTS:
        assert f"{root.name}/py.typed" in files, f"{root.name} is typed, and type checkers do not know"


def test_sdist_holds_what_a_build_needs_and_no_more(distribution: Distribution) -> None:
    with tarfile.open(distribution.sdist) as archive:
        members = [member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()]
    assert len(members) == len(set(members))
    beside = {name for name in members if not name.startswith(tuple(f"{root}/" for root in _ROOTS))}
    # .gitignore: hatchling's, which reads it when it builds from the sdist.
    assert beside == {".gitignore", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "SECURITY.md", "pyproject.toml"}
    assert {str(Path(name)) for name in set(members) - beside} == {
        f"{root.parent}/{name}" for root in _ROOTS for name in _checked_out() if name.startswith(f"{root.name}/")
    }
    assert distribution.sdist.stat().st_size < 5_000_000


def test_a_wheel_from_the_sdist_is_that_from_the_checkout(distribution: Distribution, tmp_path: Path) -> None:
    build(ROOT, tmp_path, "--wheel")
    (direct,) = tmp_path.glob("*.whl")
    assert _wheel_files(direct) == _wheel_files(distribution.wheel)
    assert direct.read_bytes() == distribution.wheel.read_bytes(), "the build is reproducible"


def test_metadata_say_what_it_is(distribution: Distribution) -> None:
    with zipfile.ZipFile(distribution.wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = message_from_bytes(archive.read(name))
        (license_text,) = [archive.read(name) for name in archive.namelist() if name.endswith("/licenses/LICENSE")]
        scripts = archive.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert (metadata["Name"], metadata["Version"]) == ("tastemaker", _PROJECT["project"]["version"])
    assert metadata["License-Expression"] == "Apache-2.0"
    assert license_text == (ROOT / "LICENSE").read_bytes()
    assert b"Apache License" in license_text
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload(decode=True).decode().strip() == (ROOT / "README.md").read_text("utf-8").strip()
    assert "Typing :: Typed" in metadata.get_all("Classifier")  # hatchling refuses those that do not exist
    for script in _PROJECT["project"]["scripts"]:
        assert f"\n{script} = " in scripts
