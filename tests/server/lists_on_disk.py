"""Generations of lists as a job leaves them, and settings to publish them with."""

import hashlib
from pathlib import Path

import pyarrow
from google.protobuf import json_format
from pyarrow import parquet

from tastemaker.artefacts.v1.lists_pb2 import LIST_KEY_USER, ListKey, ListsManifest

__all__ = ["write_config", "write_lists"]


def write_lists(
    root: Path,
    generation: int,
    lists: dict[str, bytes],
    *,
    name: str = "home",
    key: ListKey = LIST_KEY_USER,
    created_seconds: int = 1_700_000_000,
    shard_count: int = 2,
    event_log_position: int = 0,
) -> Path:
    """Writes a generation as a job does, and returns the set's folder."""
    folder = root / name / str(generation)
    folder.mkdir(parents=True)
    manifest = ListsManifest(
        name=name,
        generation=generation,
        contract_version=1,
        key=key,
        list_count=len(lists),
        event_log_position=event_log_position,
    )
    manifest.created_time.FromSeconds(created_seconds)
    keys = list(lists)
    for number in range(shard_count):
        part = keys[number::shard_count]
        table = pyarrow.table(
            {
                "key": pyarrow.array(part, pyarrow.string()),
                "list": pyarrow.array([lists[k] for k in part], pyarrow.binary()),
            }
        )
        path = folder / f"part-{number}.parquet"
        parquet.write_table(table, path)
        content = path.read_bytes()
        manifest.shards.add(
            file=path.name, list_count=len(part), byte_count=len(content), sha256=hashlib.sha256(content).hexdigest()
        )
    (folder / "manifest.json").write_text(json_format.MessageToJson(manifest))
    return folder.parent


def write_config(tmp_path: Path, data_dir: Path, stores: str = "") -> Path:
    """Writes settings with one surface, `home`, and returns their path."""
    config = tmp_path / "publish.toml"
    config.write_text(
        f'[server]\ndata_dir = "{data_dir}"\n{stores}[surfaces.home]\ntiers = ["PRECOMPUTED", "POPULAR"]\n'
    )
    return config
