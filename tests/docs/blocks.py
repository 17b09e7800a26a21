"""The shell commands that the documentation shows: blocks marked `sh`, and indented blocks that have a command."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Command", "commands", "pages", "scripts"]

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"needs a (cluster|container engine|GPU)")


@dataclass(frozen=True)
class Command:
    """A line of a block."""

    where: str
    """Page and line."""
    text: str
    """With continued lines joined."""
    mark: str
    """What it needs beside this project, as the page says: `cluster`, `container engine`, `GPU`, or ""."""


def pages() -> list[Path]:
    """Everything that users read, but for the benchmarks, which a program writes."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if page.name != "benchmarks.md"]


def scripts(page: Path) -> list[str]:
    """The blocks marked `sh`, in order."""
    return [body for kind, body in _FENCE.findall(page.read_text("utf-8")) if kind == "sh"]


def commands(page: Path) -> Iterator[Command]:
    """Every line of every shell block; of an indented block, as it may be a drawing, the caller decides."""
    heading_mark = mark = ""
    fence: str | None = None
    heredoc = False
    continued = ""
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        where = f"{page.relative_to(ROOT)}:{number}"
        if line.lstrip().startswith("```"):
            fence = line.strip()[3:] if fence is None else None
            continue
        if fence is None and line.startswith("#"):
            heading_mark = _found(line)
        is_shell = fence == "sh" or (fence is None and line.startswith("    "))
        if not is_shell:
            mark = "" if line.strip() else mark
            continue
        if heredoc:
            heredoc = line != "END"
            continue
        heredoc = "<<" in line
        mark = _found(line) or mark  # a mark holds to the end of its block
        text = continued + line.strip()
        continued = text.removesuffix("\\") if text.endswith("\\") else ""
        if text and not continued and not text.startswith("#"):
            yield Command(where, text, heading_mark or mark)


def _found(text: str) -> str:
    match = _MARK.search(text)
    return match.group(1) if match else ""
