"""The report of image classifiers as one HTML file that opens offline."""

from collections.abc import Sequence

from tastemaker_jobs.evaluation.classification import Classified
from tastemaker_jobs.reporting.templates import template

__all__ = ["render_images"]


def render_images(judged: Sequence[Classified], *, dataset: str) -> str:
    """One HTML file. The same evaluation gives the same bytes.

    Args:
        judged: Baselines and models.
        dataset: What the test images are called.
    """
    return template("images.html.j2").render(judged=judged, dataset=dataset)
