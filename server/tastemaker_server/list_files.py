"""Generations of lists as jobs write them: `lists/NAME/GENERATION/` with Parquet shards and a manifest that is checked.

It reads files only; `publication` has what a store and a configuration allow.
"""

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

from google.protobuf import json_format

from tastemaker.artefacts.v1.lists_pb2 import LIST_KEY_UNSPECIFIED, ListGeneration, ListShard, ListsManifest

__all__ = ["BadListsError", "generation_of", "newest_generation", "read_manifest", "read_shards"]

_CONTRACT_VERSION = 1
_MANIFEST = "manifest.json"
_LISTS_PER_BATCH = 2000
_BATCHES_AHEAD = 3
_HASHED_BYTES = 1 << 20
_T = TypeVar("_T")


class BadListsError(Exception):
    """A generation cannot be published; the message names the file and the fix."""


def newest_generation(folder: Path) -> int:
    """The highest generation of a set of lists that is complete.

    Raises:
        BadListsError: There is none.
    """
    try:
        numbers = [int(path.parent.name) for path in folder.glob(f"*/{_MANIFEST}") if path.parent.name.isdecimal()]
    except OSError as error:
        raise BadListsError(f"{folder}: cannot be read: {error}") from error
    if not numbers:
        raise BadListsError(
            f"{folder} has no complete generation, no N/{_MANIFEST}; let the job finish, or name lists/NAME"
        )
    return max(numbers)


def read_manifest(folder: Path, generation: int) -> ListsManifest:
    """Reads and checks the manifest of `folder/generation`.

    Args:
        folder: The set's folder; its name is the set's.
        generation: The number.

    Raises:
        BadListsError: There is no manifest, or it does not fit this contract, its folder or its shards.
    """
    path = folder / str(generation) / _MANIFEST
    try:
        manifest = json_format.Parse(path.read_text("utf-8"), ListsManifest(), ignore_unknown_fields=True)
    except OSError as error:
        raise BadListsError(f"{path}: no manifest ({error.strerror}): the generation is not finished") from error
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise BadListsError(f"{path}: not a manifest: {error}") from error
    for is_wrong, problem in (
        (
            manifest.contract_version != _CONTRACT_VERSION,
            f"contract_version is {manifest.contract_version}; this front reads {_CONTRACT_VERSION}",
        ),
        (manifest.name != folder.resolve().name, f"name is {manifest.name!r}; the folder is {folder.resolve().name!r}"),
        (manifest.generation != generation, f"generation is {manifest.generation}; the folder is {generation}"),
        (generation < 1, "generation is below 1"),
        (manifest.key == LIST_KEY_UNSPECIFIED, "key is not set: nobody can tell what lists are looked up by"),
        (manifest.list_count < 1, "list_count is 0: an empty generation would leave every reader without a list"),
        (
            manifest.list_count != sum(shard.list_count for shard in manifest.shards),
            f"list_count is {manifest.list_count}, and not the sum over the shards",
        ),
    ):
        if is_wrong:
            raise BadListsError(f"{path}: {problem}")
    for shard in manifest.shards:
        if Path(shard.file).name != shard.file:
            raise BadListsError(f"{path}: shards: file is {shard.file!r}; a name inside the folder is wanted")
        _check_size(path.with_name(shard.file), shard)
    return manifest


def generation_of(manifest: ListsManifest) -> ListGeneration:
    """What an online store keeps of a generation."""
    return ListGeneration(
        generation=manifest.generation,
        key=manifest.key,
        created_time_micros=manifest.created_time.ToMicroseconds(),
        model_name=manifest.model_name,
        model_version=manifest.model_version,
        event_log_position=manifest.event_log_position,
        list_count=manifest.list_count,
    )


def read_shards(folder: Path, manifest: ListsManifest) -> Iterator[tuple[str, bytes]]:
    """Yields all keys with their serialised lists; each shard is checked before the first of its lists.

    Args:
        folder: The generation's own folder.
        manifest: Its manifest.

    Raises:
        BadListsError: A shard is not what the manifest says.
        ModuleNotFoundError: pyarrow is not installed.
    """
    for keys, lists in _ahead(_batches(folder, manifest)):
        yield from zip(keys, lists, strict=True)


def _batches(folder: Path, manifest: ListsManifest) -> Iterator[tuple[list[str], list[bytes]]]:
    import pyarrow
    from pyarrow import parquet

    for shard in manifest.shards:
        path = folder / shard.file
        _check_size(path, shard)
        _check_sha256(path, shard)
        try:
            with parquet.ParquetFile(path) as file:
                _check_columns(path, file.schema_arrow, pyarrow.types)
                if file.metadata.num_rows != shard.list_count:
                    count = file.metadata.num_rows
                    raise BadListsError(
                        f"{path}: has {count} lists, and {shard.list_count} in the manifest; make it again"
                    )
                for batch in file.iter_batches(_LISTS_PER_BATCH, columns=["key", "list"]):
                    if batch["key"].null_count or batch["list"].null_count:
                        raise BadListsError(f"{path}: has an empty key or list (null); make it again")
                    yield batch["key"].to_pylist(), batch["list"].to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise BadListsError(f"{path}: cannot be read as Parquet: {error}") from error


def _ahead(batches: Iterator[_T]) -> Iterator[_T]:
    """Draws the next batches in a thread: hashing and unpacking go on while the store takes those before."""
    end = object()
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lists-reader")
    try:
        waiting = deque(executor.submit(next, batches, end) for _ in range(_BATCHES_AHEAD))
        while (batch := waiting.popleft().result()) is not end:
            waiting.append(executor.submit(next, batches, end))
            yield cast("_T", batch)
    finally:
        executor.shutdown(cancel_futures=True)


def _check_size(path: Path, shard: ListShard) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise BadListsError(f"{path}: cannot be read: {error.strerror}; copy the generation again") from error
    if size != shard.byte_count:
        raise BadListsError(f"{path}: has {size} bytes, and {shard.byte_count} in the manifest; copy it again")


def _check_sha256(path: Path, shard: ListShard) -> None:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_HASHED_BYTES):
            found.update(chunk)
    if found.hexdigest() != shard.sha256.lower():
        raise BadListsError(f"{path}: its SHA-256 is not the one in the manifest; copy it again")


def _check_columns(path: Path, schema: Any, types: Any) -> None:
    names = set(schema.names)
    wanted = {"key": (types.is_string, types.is_large_string), "list": (types.is_binary, types.is_large_binary)}
    for name, kinds in wanted.items():
        if name not in names or not any(kind(schema.field(name).type) for kind in kinds):
            found = str(schema.field(name).type) if name in names else "missing"
            raise BadListsError(f"{path}: column {name!r} is {found}; string `key` and binary `list` are wanted")
