"""The report of a cross-validation as one HTML file that opens offline."""

from collections.abc import Sequence

from tastemaker_jobs.evaluation.cross_validation import Fold, FoldRequest, spread, summed_confusion
from tastemaker_jobs.evaluation.metrics import Figure
from tastemaker_jobs.reporting.charts import IntervalChart, interval_chart
from tastemaker_jobs.reporting.templates import template

__all__ = ["render_folds"]


def render_folds(request: FoldRequest, folds: Sequence[Fold]) -> str:
    """One HTML file. The same folds give the same bytes.

    Args:
        request: The cross-validation.
        folds: All of them, in order.
    """
    confusion = summed_confusion(folds)
    return template("folds.html.j2").render(
        by_fold=_by_fold(request.model, folds),
        confusion=confusion,
        folds=folds,
        means=_means(folds),
        of="images" if confusion else "users",
        request=request,
    )


def _means(folds: Sequence[Fold]) -> list[tuple[str, IntervalChart]]:
    """A chart for each metric: models and baselines."""
    charts = []
    of_model = spread(folds)
    for column, first in enumerate(next(iter(of_model.values()))):
        rows = []
        for name, values in of_model.items():
            value = values[column]
            count = sum(fold.figures[name][column].user_count for fold in folds)
            rows.append((name, Figure(first.name, value.value, max(0.0, value.lower), value.upper, count)))
        charts.append((first.name, interval_chart(rows)))
    return charts


def _by_fold(model: str, folds: Sequence[Fold]) -> list[tuple[str, IntervalChart]]:
    """A chart for each metric: the model's folds."""
    return [
        (first.name, interval_chart([(f"fold {fold.number + 1}", fold.figures[model][column]) for fold in folds]))
        for column, first in enumerate(folds[0].figures[model])
    ]
