"""The templates of the reports, which lie beside this file."""

from pathlib import Path

import jinja2

__all__ = ["template"]


def template(name: str) -> jinja2.Template:
    """A template by its file name. Values are escaped, and one that is missing is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(name)
