"""Results, and the page that shows them."""

import datetime
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Result", "write_report"]

_PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
_BEGIN, _END = "<!-- {name} -->", "<!-- end of {name} -->"


@dataclass(frozen=True)
class Result:
    """One line of a table."""

    what: str
    """What was measured."""
    measured: str
    """The figure, with its unit."""
    reference: str
    """The figure of the reference in the same run, with what it is."""
    ratio: str
    """Their ratio, or difference; the median over rounds."""
    target: str
    """What it should be."""
    is_met: bool | None
    """Whether it is; None where there is no target."""


def write_report(name: str, command: str, results: Iterable[Result]) -> None:
    """Replaces the part of docs/benchmarks.md between this benchmark's marks, or adds it at the end."""
    lines = [
        _BEGIN.format(name=name),
        f"## {name}",
        "",
        f"`{command}`, {datetime.date.today().isoformat()}, {_machine()}.",  # the reader's own day
        "",
        "| what | measured | reference in the same run | ratio | target | met |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        met = {True: "yes", False: "**no**", None: "-"}[result.is_met]
        cells = (result.what, result.measured, result.reference, result.ratio, result.target, met)
        lines.append(f"| {' | '.join(cells)} |")
        print("  ".join(cells))
    part = "\n".join([*lines, _END.format(name=name)])
    page = _PAGE.read_text("utf-8")
    begin, end = page.find(_BEGIN.format(name=name)), page.find(_END.format(name=name))
    if begin < 0:
        page = page.rstrip() + "\n\n" + part + "\n"
    else:
        page = page[:begin] + part + page[end + len(_END.format(name=name)) :]
    _PAGE.write_text(page, "utf-8")


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
