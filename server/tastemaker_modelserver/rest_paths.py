"""TensorFlow Serving's REST paths: `/v1/models/M[/versions/N | /labels/L]` with a verb or `/metadata`."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from tastemaker_modelserver.errors import InvalidArgumentError

__all__ = ["RestTarget", "parse_path"]

_MODEL = r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
_VERB = re.compile(_MODEL + r":(classify|regress|predict)", re.IGNORECASE)
_LOOK = re.compile(r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?(?:/(metadata))?", re.IGNORECASE)


@dataclass(frozen=True)
class RestTarget:
    """What a path names."""

    model: str
    version: int | None
    label: str | None
    verb: str
    """`classify`, `regress`, `predict`; `metadata` or `` for a look."""

    def fill(self, spec: Any) -> None:
        """Writes model, version and label into a ModelSpec."""
        spec.name = self.model
        if self.version is not None:
            spec.version.value = self.version
        if self.label is not None:
            spec.version_label = self.label


def parse_path(method: str, raw_path: str) -> RestTarget:
    """Reads a path as it came over the wire, percent-encoded.

    Raises:
        InvalidArgumentError: It is none of the API's.
    """
    match = (_VERB if method == "POST" else _LOOK).fullmatch(raw_path) if method in ("POST", "GET") else None
    if match is None:
        raise InvalidArgumentError(f"Malformed request: {method} {raw_path}")
    name, version, label, verb = match.groups()
    if not name:
        raise InvalidArgumentError("Missing model name in request.")
    if version is not None and int(version) >= 2**63:
        raise InvalidArgumentError(f"Failed to convert version: {version} to numeric.")
    return RestTarget(
        model=unquote(name),
        version=None if version is None else int(version),
        label=None if label is None else unquote(label),
        verb=(verb or "").lower(),
    )
