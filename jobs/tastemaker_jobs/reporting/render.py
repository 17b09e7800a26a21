"""The report as HTML: gives the template what it draws. All styles, charts and pictures are inside the one file."""

from collections.abc import Mapping, Sequence

from tastemaker_jobs.evaluation.assessment import Assessment
from tastemaker_jobs.evaluation.beyond_accuracy import MEANINGS
from tastemaker_jobs.evaluation.comparison import SIGNIFICANCE
from tastemaker_jobs.evaluation.leakage import CHECKS
from tastemaker_jobs.evaluation.metrics import TIE_POLICY
from tastemaker_jobs.publishing.training_records import Epoch
from tastemaker_jobs.reporting.catalogue import Catalogue
from tastemaker_jobs.reporting.charts import COLOURS, curves_of, interval_chart
from tastemaker_jobs.reporting.examples import example_users
from tastemaker_jobs.reporting.templates import template

__all__ = ["render_report"]

_METRICS_COMPARED = 2  # a table of all pairs each; metrics.json has the others


def render_report(
    assessment: Assessment,
    lists: Mapping[str, Mapping[str, Sequence[str]]],
    *,
    epochs: Mapping[str, Sequence[Epoch]],
    catalogue: Catalogue,
) -> str:
    """One HTML file. The same evaluation gives the same bytes.

    Args:
        assessment: What came out.
        lists: What was judged, for the example users.
        epochs: Model to how it was trained; models without epochs may be missing.
        catalogue: What items are called and look like.
    """
    judged, headline = assessment.judged, assessment.protocol.metrics[0]
    top = max((figure.upper for model in judged for figure in model.segments if figure.user_count), default=1.0)
    segments = [
        (segment, interval_chart([(model.name, model.segments[row]) for model in judged], top=top))
        for row, segment in enumerate(assessment.segments)
    ]
    return template("report.html.j2").render(
        a=assessment,
        catalogue=catalogue,
        checks=CHECKS,
        colours={model.name: COLOURS[row % len(COLOURS)] for row, model in enumerate(judged)},
        curves={name: curves_of(of_model) for name, of_model in epochs.items() if of_model},
        examples=example_users(assessment.questions, lists),
        headline=headline,
        highest={
            figure.name: max(model.figures[column].value for model in judged)
            for column, figure in enumerate(judged[0].figures)
        },
        item_count=len(set(assessment.split.train.item_id)),
        meanings=MEANINGS,
        overall=interval_chart([(model.name, model.figures[0]) for model in judged], width=760),
        segment_charts=segments,
        shown_differences=dict(list(assessment.differences.items())[:_METRICS_COMPARED] if len(judged) > 1 else ()),
        significance=SIGNIFICANCE,
        tie_policy=TIE_POLICY,
    )
