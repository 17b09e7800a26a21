"""The report of image classifiers as one HTML file that opens offline."""

from collections.abc import Sequence
from pathlib import Path

import jinja2

from tastemaker_jobs.evaluation.classification import Classified

__all__ = ["render_images"]


def render_images(judged: Sequence[Classified], *, dataset: str) -> str:
    """One HTML file. The same evaluation gives the same bytes.

    Args:
        judged: Baselines and models.
        dataset: What the test images are called.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("images.html.j2").render(judged=judged, dataset=dataset)
