"""Lists a second that `publish-lists` loads into SQLite and Redis, beside reading and checking their shards alone."""

import asyncio
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from google.protobuf import json_format
from pyarrow import parquet

from bench.processes import redis_server
from bench.report import Result
from tastemaker.artefacts.v1 import lists_pb2
from tastemaker.artefacts.v1.state_pb2 import RankedList
from tastemaker.v1 import feedback_service_pb2
from tastemaker_server.event_log.sqlite import SqliteEventLog
from tastemaker_server.list_files import read_manifest, read_shards
from tastemaker_server.online_store import OnlineStore
from tastemaker_server.online_store.redis import RedisOnlineStore
from tastemaker_server.online_store.sqlite import SqliteOnlineStore
from tastemaker_server.publication import publish_lists
from tastemaker_server.settings import SurfaceSettings, TierName
from tastemaker_server.user_state import StatePolicy

__all__ = ["measure"]

_LISTS, _K, _SHARDS, _ROUNDS = 100_000, 200, 4, 3
_TARGETS = {"SQLite": 100_000, "Redis": 50_000}
_SCHEMA = pa.schema({"key": pa.string(), "list": pa.binary()})
_ROW_GROUP = 2048
_POLICY = StatePolicy(frozenset({feedback_service_pb2.EVENT_TYPE_CONSUME}), 200, 10_000)
_SURFACES = {"home": SurfaceSettings(tiers=(TierName.PRECOMPUTED,))}


def measure() -> list[Result]:
    """In each round every store gets a generation, and the shards are read once without a store."""
    rates: dict[str, list[float]] = {"reading": [], "SQLite": [], "Redis": []}
    with tempfile.TemporaryDirectory() as name, redis_server(Path(name)) as url:
        folder = Path(name)
        lists = folder / "lists" / "home"
        opened: dict[str, Callable[[], OnlineStore]] = {
            "SQLite": lambda: SqliteOnlineStore(folder / "online.db", policy=_POLICY),
            "Redis": lambda: RedisOnlineStore(url, policy=_POLICY, timeout_seconds=5),
        }
        for number in range(1, _ROUNDS + 1):
            _write_generation(lists, number)
            rates["reading"].append(_rate(lambda: _read(lists, number)))  # noqa: B023  # called at once
            for kind, open_store in opened.items():
                rates[kind].append(_rate(lambda: asyncio.run(_publish(open_store(), folder, lists))))  # noqa: B023  # likewise
    return [_result(kind, rates) for kind in _TARGETS]


def _result(kind: str, rates: dict[str, list[float]]) -> Result:
    rate = statistics.median(rates[kind])
    ratio = statistics.median(one / other for one, other in zip(rates[kind], rates["reading"], strict=True))
    return Result(
        what=f"publish-lists into {kind}, {_LISTS:,} lists of {_K} items, from Parquet to the switch",
        measured=f"{rate:,.0f} lists/s",
        reference=f"reading and checking the shards alone: {statistics.median(rates['reading']):,.0f} lists/s",
        ratio=f"{ratio:.2f}",
        target=f"≥ {_TARGETS[kind]:,} lists/s",
        is_met=rate >= _TARGETS[kind],
    )


def _rate(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return _LISTS / (time.perf_counter() - began)


async def _publish(store: OnlineStore, folder: Path, lists: Path) -> None:
    log = SqliteEventLog(folder / "events.db")
    try:
        await publish_lists(store, log, _SURFACES, lists)
    finally:
        await log.close()
        await store.close()


def _read(lists: Path, number: int) -> None:
    count = sum(1 for _ in read_shards(lists / str(number), read_manifest(lists, number)))
    if count != _LISTS:
        raise RuntimeError(f"{count} lists were read, of {_LISTS}")


def _write_generation(lists: Path, number: int) -> None:
    rng = np.random.default_rng(number)
    keys = [f"user-{user}" for user in rng.permutation(10 * _LISTS)[:_LISTS]]
    folder = lists / str(number)
    folder.mkdir(parents=True)
    manifest = lists_pb2.ListsManifest(
        name="home",
        generation=number,
        contract_version=1,
        key=lists_pb2.LIST_KEY_USER,
        max_list_length=_K,
        list_count=_LISTS,
    )
    manifest.created_time.GetCurrentTime()
    for shard in range(_SHARDS):
        mine = keys[shard::_SHARDS]
        path = folder / f"shard-{shard:05}.parquet"
        # As `precompute` writes a shard: no two lists are alike, zstd, no dictionary.
        with parquet.ParquetWriter(
            path, _SCHEMA, compression="zstd", use_dictionary=False, write_statistics=False
        ) as writer:
            for start in range(0, len(mine), _ROW_GROUP):
                rows = mine[start : start + _ROW_GROUP]
                lists_of_rows = pa.array([_ranked_list(rng) for _ in rows], pa.binary())
                writer.write_table(pa.table([pa.array(rows), lists_of_rows], schema=_SCHEMA))
        data = path.read_bytes()
        manifest.shards.add(
            file=path.name, list_count=len(mine), byte_count=len(data), sha256=hashlib.sha256(data).hexdigest()
        )
    (folder / "manifest.json").write_text(json_format.MessageToJson(manifest))
    os.sync()  # as `precompute` does: what is measured need not wait for these files to reach the disk


def _ranked_list(rng: np.random.Generator) -> bytes:
    items = rng.integers(1_000_000, 2_000_000, size=_K).astype(str)
    scores = np.sort(rng.random(_K, np.float32))[::-1]
    return RankedList(item_ids=items.tolist(), scores=scores.tolist()).SerializeToString()
