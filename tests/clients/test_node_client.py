"""The Node client against a real front: its own tests, and its README's example where the package is installed."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_NODE = _ROOT / "clients" / "node"

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="Node is not installed (Debian: nodejs, npm)"
)


def _run(*command: str, folder: Path, **environment: str) -> str:
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=170, env={**os.environ, **environment}, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package with its dependencies, and of the protos where its build looks for them."""
    copy = tmp_path / "clients" / "node"
    made = shutil.ignore_patterns("node_modules", "build", "tastemaker", "*.tgz")
    shutil.copytree(_NODE, copy, ignore=made)
    shutil.copytree(_ROOT / "proto" / "tastemaker" / "v1", tmp_path / "proto" / "tastemaker" / "v1")
    _run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=copy)
    return copy


@pytest.mark.slow
@needs_node
def test_the_packages_own_tests_pass_against_a_front(package: Path, start_front: Callable[..., Any]) -> None:
    front = start_front(server="max_connection_age_seconds = 0.3")
    output = _run("npm", "test", folder=package, TASTEMAKER_TEST_ADDRESS=front.address)
    (passed,) = re.findall(r"(?m)^\S+ pass (\d+)$", output)
    assert int(passed) > 0
    assert re.search(r"(?m)^\S+ fail 0$", output)
    assert re.search(r"(?m)^\S+ skipped 0$", output)


@pytest.mark.slow
@needs_node
def test_the_readmes_example_runs_where_the_package_is_installed(
    package: Path, start_front: Callable[..., Any], tmp_path: Path
) -> None:
    (packed,) = json.loads(_run("npm", "pack", "--json", "--pack-destination", str(tmp_path), folder=package))
    backend = tmp_path / "backend"
    backend.mkdir()
    _run("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", f"../{packed['filename']}", folder=backend)
    (example,) = re.findall(r"```js\n(.*?)```", (_NODE / "README.md").read_text("utf-8"), re.DOTALL)
    (backend / "example.mjs").write_text(example)

    # The package must not need the place where it was made.
    shutil.rmtree(package)
    shutil.rmtree(tmp_path / "proto")
    output = _run("node", "example.mjs", folder=backend, TASTEMAKER_ADDRESS=start_front().address)

    assert output.splitlines() == ["POPULAR", "1 stored"]


def test_the_lock_file_names_no_registry() -> None:
    packages = json.loads((_NODE / "package-lock.json").read_text("utf-8"))["packages"]
    assert all("integrity" in entry and "resolved" not in entry for path, entry in packages.items() if path)


def test_the_words_of_the_contract_are_the_packages() -> None:
    protos = "".join(path.read_text("utf-8") for path in (_ROOT / "proto" / "tastemaker" / "v1").glob("*.proto"))
    for file, name, enum in [
        ("page.ts", "TIERS", "Tier"),
        ("page.ts", "TIER_OUTCOMES", "TierOutcome"),
        ("page.ts", "ITEM_REASONS", "ItemReason"),
        ("event.ts", "EventType", "EventType"),
    ]:
        prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum).upper() + "_"
        body = re.findall(rf"^enum {enum} {{(.*?)^}}", protos, re.DOTALL | re.MULTILINE)[0]
        words = set(re.findall(rf"^  {prefix}(\w+) =", body, re.MULTILINE))
        source = re.findall(
            rf"^export const {name} = (.*?) as const;", (_NODE / "src" / file).read_text(), re.DOTALL | re.M
        )[0]
        assert set(re.findall(r'"(\w+)"', source)) | {"UNSPECIFIED"} == words
