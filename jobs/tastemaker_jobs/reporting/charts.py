"""Where things stand in the report's charts: scales, ticks and points in pixels. The template draws them as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tastemaker_jobs.evaluation.metrics import Figure
from tastemaker_jobs.publishing.training_records import Epoch

__all__ = ["COLOURS", "Curve", "IntervalChart", "curves_of", "interval_chart", "nice_ticks"]

COLOURS = ("#6b7280", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#7b3294", "#8c510a", "#1b7837")
"""One per model, the first for the first baseline: told apart by the colour-blind too (Okabe and Ito), and on paper."""

_LABEL = 170  # px at the left of an interval chart
_VALUE = 60  # px at its right
_ROW = 20
_CURVE_WIDTH, _CURVE_HEIGHT = 300, 130
_CURVE_LEFT, _CURVE_BOTTOM = 46, 24


@dataclass(frozen=True)
class Bar:
    """A value with its interval."""

    label: str
    """At its left."""
    text: str
    """At its right; "no users" where there is no value."""
    y: float
    """Of its middle."""
    x: float | None
    """Of the value; None where there is none."""
    left: float
    """Of the interval's lower end."""
    right: float
    """Of its upper end."""
    colour: str
    """Of the model."""


@dataclass(frozen=True)
class IntervalChart:
    """Values with intervals, one under the other on one scale that begins at 0."""

    width: float
    """px."""
    height: float
    """px."""
    bars: tuple[Bar, ...]
    """From the top."""
    ticks: tuple[tuple[float, str], ...]
    """x and text."""


def interval_chart(rows: Sequence[tuple[str, Figure]], *, top: float | None = None, width: int = 560) -> IntervalChart:
    """Figures of models, drawn.

    Args:
        rows: Model and figure, in order of the models.
        top: End of the scale; of these rows by default.
        width: px.
    """
    ends = [figure.upper for _, figure in rows if not math.isnan(figure.upper)]
    ticks = nice_ticks(0.0, top if top is not None else max(ends, default=1.0))
    plot, end = width - _LABEL - _VALUE, ticks[-1]

    def x(value: float) -> float:
        return round(_LABEL + plot * value / end, 1)

    bars = []
    for row, (name, figure) in enumerate(rows):
        nothing = math.isnan(figure.value)
        low, high = (0.0, 0.0) if math.isnan(figure.lower) else (figure.lower, figure.upper)
        bars.append(
            Bar(
                label=name,
                text="no users" if nothing else f"{figure.value:.3f}",
                y=_ROW * (row + 0.5),
                x=None if nothing else x(figure.value),
                left=x(low),
                right=x(high),
                colour=COLOURS[row % len(COLOURS)],
            )
        )
    marks = tuple((x(tick), f"{tick:g}") for tick in ticks)
    return IntervalChart(width, _ROW * len(rows) + 22, tuple(bars), marks)


@dataclass(frozen=True)
class Curve:
    """A line over epochs."""

    title: str
    """What it shows."""
    width: float
    """px."""
    height: float
    """px."""
    left: float
    """Where the plot begins."""
    points: str
    """As SVG has them."""
    x_ticks: tuple[tuple[float, str], ...]
    """x and text."""
    y_ticks: tuple[tuple[float, str], ...]
    """y and text."""
    best: tuple[float, float] | None
    """Where the best epoch stands; None where there is none."""


def curves_of(epochs: Sequence[Epoch]) -> list[Curve]:
    """Training loss and validation NDCG@10, each that there is.

    Args:
        epochs: Of one model, in order.
    """
    loss = [(epoch.epoch, epoch.loss) for epoch in epochs]
    valid = [(epoch.epoch, epoch.valid_ndcg) for epoch in epochs if epoch.valid_ndcg is not None]
    best = max(valid, key=lambda point: point[1])[0] if valid else None
    curves = [_curve("training loss", loss, best)] if loss else []
    return [*curves, _curve("validation NDCG@10", valid, best)] if valid else curves


def _curve(title: str, values: Sequence[tuple[int, float]], best: int | None) -> Curve:
    last = max(epoch for epoch, _ in values)
    y_marks = nice_ticks(min(value for _, value in values), max(value for _, value in values))
    low, high = y_marks[0], y_marks[-1]

    def x(epoch: float) -> float:
        return round(_CURVE_LEFT + (_CURVE_WIDTH - _CURVE_LEFT - 10) * (epoch - 1) / max(1, last - 1), 1)

    def y(value: float) -> float:
        return round(8 + (_CURVE_HEIGHT - _CURVE_BOTTOM - 8) * (high - value) / (high - low), 1)

    points = {epoch: (x(epoch), y(value)) for epoch, value in values}
    steps = sorted({round(tick) for tick in nice_ticks(1, last)} & set(range(1, last + 1)) | {1, last})
    apart = [step for step in steps if step in (1, last) or last - step > last / 10]
    return Curve(
        title,
        _CURVE_WIDTH,
        _CURVE_HEIGHT,
        _CURVE_LEFT,
        " ".join(f"{across},{down}" for across, down in points.values()),
        tuple((x(step), str(step)) for step in apart),
        tuple((y(mark), f"{mark:g}") for mark in y_marks),
        points.get(best) if best is not None else None,
    )


def nice_ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers that reach from `low` or below to `high` or above.

    >>> nice_ticks(0, 0.113), nice_ticks(1, 1)
    ([0.0, 0.05, 0.1, 0.15], [1.0, 1.2, 1.4, 1.6, 1.8, 2.0])
    """
    span = high - low if high > low else max(abs(low), 1.0)
    power = 10.0 ** math.floor(math.log10(span / 3))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 5)
    first = math.floor(low / step + 1e-9)
    last = max(first + 2, math.ceil((high if high > low else low + span) / step - 1e-9))
    return [round(step * number, 10) for number in range(first, last + 1)]
