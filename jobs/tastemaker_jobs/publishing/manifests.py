"""The manifest beside a model: `manifest.json`, the proto JSON of tastemaker.artefacts.v1.ModelManifest."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from tastemaker.artefacts.v1 import manifest_pb2
from tastemaker_jobs.data.ratings import Ratings
from tastemaker_jobs.errors import ModelLoadError
from tastemaker_jobs.evaluation.metrics import Figure
from tastemaker_jobs.publishing.code_version import code_version
from tastemaker_jobs.publishing.versions import versions

__all__ = [
    "MANIFEST",
    "as_toml",
    "data_window",
    "metrics",
    "new_manifest",
    "numbered",
    "read_manifest",
    "write_manifest",
]

MANIFEST = "manifest.json"


def new_manifest(name: str, *, contract_version: int, signatures: Iterable[str]) -> manifest_pb2.ModelManifest:
    """A manifest of now and of this code; the caller fills in the rest."""
    created = Timestamp()
    created.GetCurrentTime()
    return manifest_pb2.ModelManifest(
        name=name,
        contract_version=contract_version,
        created_time=created,
        code_version=code_version(),
        signatures=sorted(signatures),
    )


def data_window(train: Ratings, *, dataset: str, sha256: str) -> manifest_pb2.DataWindow:
    """Which data was trained on.

    Args:
        train: N ratings, 1 or more.
        dataset: What the data is called.
        sha256: Of the whole ratings file.
    """
    return manifest_pb2.DataWindow(
        dataset=dataset,
        sha256=sha256,
        event_count=len(train),
        user_count=len(set(train.user_id)),
        item_count=len(set(train.item_id)),
        first_event_time=Timestamp(seconds=int(train.timestamp.min())),
        last_event_time=Timestamp(seconds=int(train.timestamp.max())),
    )


def metrics(figures: Iterable[Figure], *, protocol: str) -> list[manifest_pb2.Metric]:
    """Figures as messages."""
    return [
        manifest_pb2.Metric(
            name=figure.name,
            value=figure.value,
            lower=figure.lower,
            upper=figure.upper,
            protocol=protocol,
            user_count=figure.user_count,
        )
        for figure in figures
    ]


def as_toml(config: object) -> str:
    """A config dataclass of numbers, texts, booleans, lists and flat tables as TOML.

    >>> from dataclasses import make_dataclass
    >>> print(as_toml(make_dataclass("Config", [("epochs", int), ("rate", float)])(3, 1e-3)), end="")
    epochs = 3
    rate = 0.001
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"a dataclass is needed, not {config!r}")
    return "".join(f"{name} = {_toml(value)}\n" for name, value in dataclasses.asdict(config).items())


def _toml(value: Any) -> str:
    """A value as TOML.

    >>> _toml(3), _toml(float("-inf")), _toml((1, "a")), _toml({"view": 1.0})
    ('3', '-inf', '[1, "a"]', '{ "view" = 1.0 }')
    """
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{json.dumps(key)} = {_toml(inner)}' for key, inner in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    # Finite numbers, texts and booleans are the same in JSON.
    return str(value) if isinstance(value, float) and not math.isfinite(value) else json.dumps(value)


def numbered(manifest: manifest_pb2.ModelManifest, folder: Path, model_dir: Path) -> Callable[[int], None]:
    """What a draft calls before it appears: the manifest gets its number and what was newest before, and is written.

    Args:
        manifest: Otherwise complete.
        folder: Of the draft.
        model_dir: Holds the versions that there are.
    """

    def finish(number: int) -> None:
        manifest.version = number
        manifest.parent_version = max(versions(model_dir), default=0)
        write_manifest(manifest, folder)

    return finish


def write_manifest(manifest: manifest_pb2.ModelManifest, folder: Path) -> None:
    """Write manifest.json into a version's folder."""
    (folder / MANIFEST).write_text(json_format.MessageToJson(manifest, preserving_proto_field_name=True) + "\n")


def read_manifest(folder: Path) -> manifest_pb2.ModelManifest:
    """Read a version's manifest.

    Raises:
        ModelLoadError: It is missing or broken.
    """
    path = folder / MANIFEST
    try:
        return json_format.Parse(path.read_text(), manifest_pb2.ModelManifest(), ignore_unknown_fields=True)
    except (OSError, ValueError, json_format.ParseError) as error:
        raise ModelLoadError(f"{path} cannot be read: {error}. Train the model anew.") from error
