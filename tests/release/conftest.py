"""The distribution, built once as a release builds it, and empty environments to install it into."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_UV = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
_LOCKED_BUILD = ["--build-constraints", ROOT / "requirements" / "build.lock", "--require-hashes"]


@dataclass(frozen=True)
class Distribution:
    """What `uv build` made."""

    wheel: Path
    sdist: Path


def build(source: Path, target: Path, *what: str) -> None:
    """Runs `uv build` with the locked build packages."""
    subprocess.run(
        [_UV, "build", "--quiet", *_LOCKED_BUILD, "--out-dir", target, *what, source], check=True, timeout=120
    )


@pytest.fixture(scope="session")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    """The wheel and the sdist of this checkout, as CONTRIBUTING says to build them: the wheel out of the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder)
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return Distribution(wheel, sdist)


@dataclass(frozen=True)
class Installed:
    """An environment that was empty but for what the wheel brings."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of this project's own environment."""
        return {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}

    def program(self, name: str) -> Path:
        """A console script's path."""
        return self.folder / "bin" / name

    def run(self, name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end, in the environment's folder."""
        return subprocess.run(
            [self.program(name), *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


@pytest.fixture
def install(distribution: Distribution, tmp_path: Path) -> Iterator[Callable[..., Installed]]:
    """Installs the wheel with extras into an empty environment: `install("server", "redis")`, `install()` for the base.

    Versions are the locked ones, so that what is checked is which packages an extra names, and uv has them at hand.
    """
    made: list[Path] = []

    def into_an_empty_environment(*extras: str, dry_run: bool = False) -> Installed:
        folder = tmp_path / f"environment-{len(made)}"
        made.append(folder)
        subprocess.run([_UV, "venv", "--quiet", "--python", os.path.realpath(sys.executable), folder], check=True)
        wanted = f"tastemaker[{','.join(extras)}] @ {distribution.wheel.as_uri()}"
        lock = "modelserver-gpu" if "gpu" in extras else "dev"
        command = [_UV, "pip", "install", "--python", folder / "bin" / "python"]
        command += ["--constraints", ROOT / "requirements" / f"{lock}.lock", *(["--dry-run"] if dry_run else [])]
        ended = subprocess.run([*command, wanted], capture_output=True, text=True, check=False, timeout=300)
        assert ended.returncode == 0, ended.stderr
        (folder / "installed").write_text(ended.stderr)
        return Installed(folder)

    yield into_an_empty_environment
    for folder in made:
        shutil.rmtree(folder)  # one with TensorFlow takes gigabytes
