"""The parts import what the table in docs/architecture.md lets them import."""

import ast
import re
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


def _table() -> dict[str, tuple[Path, set[str]]]:
    """Package name → (its folder, top-level packages it may import)."""
    text = (_ROOT / "docs" / "architecture.md").read_text("utf-8")
    section = text.partition("## Who may import whom")[2].partition("\n## ")[0]
    rows = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            name, folder, own, third_party = (re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|"))
            rows[name[0]] = (_ROOT / folder[0] / name[0], {*name, *own, *third_party})
    return rows


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; name the package"
            names.add((node.module or "").partition(".")[0])
    return names - set(sys.stdlib_module_names)


def test_table_names_every_package_of_the_distribution() -> None:
    roots = [_ROOT / name for name in ("clients", "jobs", "proto", "server")]
    packages = {path.name for root in roots for path in root.iterdir() if path.is_dir() and path.name[0] not in "._"}
    assert set(_table()) == packages - {"node"}  # clients/node is an npm package


@pytest.mark.parametrize("package", sorted(_table()))
def test_package_imports_what_its_row_allows(package: str) -> None:
    folder, allowed = _table()[package]
    files = sorted(folder.rglob("*.py"))
    assert files
    for path in files:
        surplus = _imports(path) - allowed
        assert not surplus, f"{path.relative_to(_ROOT)} imports {sorted(surplus)}; see docs/architecture.md"
