"""What a person at the terminal sees: progress while it runs, tables and paths at the end.

Progress and notes go to stderr, results to stdout, so that a script can use the one without the other. Where the log is
to be JSON, progress and notes are lines of the log instead.
"""

import contextlib
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from tastemaker_jobs.environment import log_format
from tastemaker_jobs.evaluation.cross_validation import Spread
from tastemaker_jobs.evaluation.metrics import TIE_POLICY, Figure
from tastemaker_jobs.training.progress import EpochEvent, Report, StageEvent

__all__ = ["figures_table", "note", "print_path", "print_table", "progress", "spread_table"]


_NO_LIMIT = 10_000  # characters, more than any table has

_log = logging.getLogger(__name__)


def note(text: str) -> None:
    """One line of explanation."""
    if log_format() == "json":
        _log.info("%s", text)
        return
    Console(stderr=True, highlight=False).print(text, markup=False, soft_wrap=True)


def print_path(path: Path) -> None:
    """A path as a line of its own, for scripts."""
    Console(highlight=False).print(str(path), markup=False, soft_wrap=True)


def print_table(table: Table) -> None:
    """A table, as wide as it needs to be."""
    console = Console()
    needed = Console(width=_NO_LIMIT).measure(table).maximum
    Console(width=max(console.width, needed)).print(table)


def figures_table(rows: Iterable[tuple[str, Sequence[Figure]]], *, title: str) -> Table:
    """Figures of several models, a row each, the baselines among them.

    Args:
        rows: Name and figures, all with the same figures in the same order.
        title: Stands above.
    """
    rows = list(rows)
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.caption = f"mean over users [95 % bootstrap interval]; tie policy: {TIE_POLICY.split(':')[0]}"
    table.add_column("model")
    for figure in rows[0][1]:
        table.add_column(figure.name.upper(), justify="right", no_wrap=True)
    table.add_column("users", justify="right")
    for name, figures in rows:
        table.add_row(name, *(_cell(figure) for figure in figures), str(figures[0].user_count))
    return table


def spread_table(rows: Mapping[str, Sequence[Spread]], *, title: str) -> Table:
    """Means over folds, a row for each model.

    Args:
        rows: Name to spreads, all of the same metrics in the same order.
        title: Stands above.
    """
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.caption = "mean over folds [95 % interval by Student's t]"
    table.add_column("model")
    for value in next(iter(rows.values())):
        table.add_column(value.name.upper(), justify="right", no_wrap=True)
    for name, values in rows.items():
        table.add_row(name, *(_cell(value) for value in values))
    return table


@contextlib.contextmanager
def progress() -> Iterator[Report]:
    """A listener to training: bars on a terminal, else a line per epoch."""
    if log_format() == "json":
        yield lambda event: _log.info("%s", _line(event), extra=_fields(event))
        return
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda event: console.print(_line(event), markup=False, soft_wrap=True)
        return
    columns = (
        TextColumn("{task.description:12}"),
        BarColumn(30),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(event: StageEvent | EpochEvent) -> None:
            if event.model not in tasks:
                tasks[event.model] = bars.add_task(event.model, total=None, text="")
            if isinstance(event, EpochEvent):
                bars.update(tasks[event.model], total=event.epochs, completed=event.epoch, text=_figures(event))
            else:
                bars.update(tasks[event.model], text=event.stage)

        yield show


def _line(event: StageEvent | EpochEvent) -> str:
    if isinstance(event, StageEvent):
        return f"{event.model}: {event.stage}"
    return f"{event.model}: epoch {event.epoch} of at most {event.epochs}, {_figures(event)}, {event.seconds:.1f} s"


def _fields(event: StageEvent | EpochEvent) -> dict[str, str | float | None]:
    if isinstance(event, StageEvent):
        return {"model": event.model, "stage": event.stage}
    figures = {"loss": event.loss, event.measure: event.valid_ndcg, "duration_ms": round(event.seconds * 1000, 3)}
    finite = {name: value if math.isfinite(value) else None for name, value in figures.items()}  # JSON has no NaN
    return {"model": event.model, "epoch": event.epoch, **finite}


def _figures(event: EpochEvent) -> str:
    return f"loss {event.loss:.3f}, validation {event.measure} {event.valid_ndcg:.4f}"


def _cell(figure: Figure | Spread) -> str:
    if math.isnan(figure.value):
        return "NaN"
    return f"{figure.value:.4f} [{figure.lower:.4f}, {figure.upper:.4f}]"
