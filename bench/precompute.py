"""Lists computed ahead: the pipeline beside a plain loop over the same SavedModel, two workers beside one, memory."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bench.report import Result

__all__ = ["measure"]

_USERS, _ITEMS, _EVENTS_PER_USER, _K = 24_000, 3_706, 60, 200
_MANY_USERS, _FEW_ITEMS, _FEW_EVENTS, _SMALL_K = 1_000_000, 200, 5, 10
_SHARDS, _MANY_SHARDS = 16, 64
_BATCH = 128
_ROUNDS = 3
_SEED = 0


def measure() -> list[Result]:
    """All three; nothing else should run on the machine."""
    from tastemaker_jobs import environment

    environment.quiet_libraries()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)  # the plain loop has one core, as an actor has
    tf.config.threading.set_inter_op_parallelism_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = _export(folder, "rnn", _ITEMS)
        events = _write_events(folder / "events", _USERS, _ITEMS, _EVENTS_PER_USER)
        return [*_speed(folder, model, events), *_memory(folder)]


def _speed(folder: Path, model: Path, events: Path) -> list[Result]:
    from tastemaker_jobs.ray_cluster import connected

    rates: dict[str, list[float]] = {"plain": [], "one": [], "two": []}
    with connected(None, spare_cores=1):
        for number in range(_ROUNDS):
            rates["plain"].append(_plain_rate(model, events))
            rates["one"].append(_pipeline_rate(folder, model, events, f"one-{number}", workers=1))
            rates["two"].append(_pipeline_rate(folder, model, events, f"two-{number}", workers=2))
    middle = {name: statistics.median(found) for name, found in rates.items()}
    to_plain = statistics.median(one / plain for one, plain in zip(rates["one"], rates["plain"], strict=True))
    to_one = statistics.median(two / one for two, one in zip(rates["two"], rates["one"], strict=True))
    what = f"rnn, {_ITEMS:,} items, history 50, {_K} items in a list, batches of {_BATCH}"
    return [
        Result(
            f"precompute of users on one actor of one core, from events to shards ({what})",
            f"{middle['one']:,.0f} users/s",
            f"plain loop over the same SavedModel on one core: {middle['plain']:,.0f} users/s",
            f"{to_plain:.2f}",
            "≥ 0.85",
            to_plain >= 0.85,
        ),
        Result(
            "the same on two actors of one core each",
            f"{middle['two']:,.0f} users/s",
            f"one actor: {middle['one']:,.0f} users/s",
            f"{to_one:.2f}",
            "≥ 1.7",
            to_one >= 1.7,
        ),
    ]


def _pipeline_rate(folder: Path, model: Path, events: Path, name: str, *, workers: int) -> float:
    """Users per second from when each actor has finished a shard: starting them is not in it."""
    from tastemaker_jobs.commands.precompute import model_of
    from tastemaker_jobs.on_ray_precompute import OnRay
    from tastemaker_jobs.precompute.event_files import export_files
    from tastemaker_jobs.precompute.request import Kind, Precompute
    from tastemaker_jobs.precompute.run import precompute

    told: list[float] = []

    def listen(text: str) -> None:
        if " has " in text:
            told.append(time.perf_counter())

    request = Precompute(
        Kind.USERS,
        name,
        folder / "lists",
        _K,
        events=export_files(events),
        model=model_of(model, "recommend"),
        shards=_SHARDS,
        batch_size=_BATCH,
    )
    outcome = precompute(request, OnRay(workers=workers, gpu=False), listen)
    # Actors start one after the other: what comes before the first shards of both is left out, and the end, when one
    # of them may have nothing left to do, as well.
    first, last = 2 * workers, _SHARDS - workers
    lists = sum(shard.list_count for shard in outcome.manifest.shards) / _SHARDS * (last - first)
    return lists / (told[last - 1] - told[first - 1])


def _plain_rate(model: Path, events: Path) -> float:
    """As a script would: load, pad, ask, take what comes. Reading the events is not in it."""
    import pyarrow as pa
    import tensorflow as tf

    from tastemaker_jobs.precompute.event_files import event_tables, export_files
    from tastemaker_jobs.precompute.questions import histories

    loaded = tf.saved_model.load(str(model))
    recommend = loaded.signatures["recommend"]
    files = export_files(events)
    tables = [table for number in range(len(files.paths)) for table in event_tables(files, number, consuming=[])]
    users = histories(pa.concat_tables(tables), _EVENTS_PER_USER)
    known = users.column("history").to_pylist()

    def ask(batch: list[list[str]]) -> None:
        longest = max(map(len, batch))
        history = tf.constant([([""] * 50 + items)[-50:] for items in batch])
        exclude = tf.constant([items + [""] * (longest - len(items)) for items in batch])
        answer = recommend(history=history, exclude=exclude, k=tf.constant(_K))
        answer["item_id"].numpy(), answer["score"].numpy()

    ask(known[:_BATCH])
    began = time.perf_counter()
    for start in range(0, len(known), _BATCH):
        ask(known[start : start + _BATCH])
    return len(known) / (time.perf_counter() - began)


def _memory(folder: Path) -> list[Result]:
    """Memory of the driver and of the actors at a quarter of the run and at its end."""
    model = _export(folder, "popularity", _FEW_ITEMS)
    events = _write_events(folder / "many-events", _MANY_USERS, _FEW_ITEMS, _FEW_EVENTS)
    argv = [sys.executable, "-m", "tastemaker_jobs.cli", "precompute", "--surface", "memory", "--model-dir", str(model)]
    argv += ["--events", str(events), "--lists-dir", str(folder / "lists"), "--k", str(_SMALL_K), "--workers", "2"]
    argv += ["--shards", str(_MANY_SHARDS), "--batch-size", "512"]
    samples: list[tuple[int, int]] = []
    began = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr or ():
            if " has " in line:
                samples.append(_resident(psutil.Process(process.pid)))  # noqa: PERF401  # as the lines come
    if process.returncode:
        raise RuntimeError(f"precompute ended with {process.returncode}")
    seconds = time.perf_counter() - began
    results = []
    for place, who in enumerate(("the driver", "both actors")):
        found = [sample[place] for sample in samples]
        early = found[len(found) // 4]
        late = [value for value in found if value][-1]
        growth = late / early - 1
        results.append(
            Result(
                f"memory of {who} at the end of {_MANY_USERS:,} users (popularity, {seconds:.0f} s with Ray's start)",
                f"{late / 2**20:,.0f} MB",
                f"after a quarter of the shards: {early / 2**20:,.0f} MB",
                f"{growth:+.1%}",
                "within 10 %",
                growth <= 0.1,
            )
        )
    return results


def _resident(driver: psutil.Process) -> tuple[int, int]:
    """Bytes of the driver, and of the actors together."""
    actors = 0
    for child in driver.children(recursive=True):
        try:
            if "MapWorker" in "".join(child.cmdline()):
                actors += child.memory_info().rss
        except psutil.Error:
            continue
    return driver.memory_info().rss, actors


def _export(folder: Path, name: str, items: int) -> Path:
    """A version of a model as it was initialised: what it computes takes as long as if it were trained."""
    import tensorflow as tf

    from tastemaker_jobs.models import model_class
    from tastemaker_jobs.models.signatures import export_saved_model
    from tastemaker_jobs.publishing.manifests import new_manifest, write_manifest

    kind: Any = model_class(name)
    model = kind(kind.config_class(), item_count=items, seed=_SEED)
    model.score_items(tf.zeros([1, 1], tf.int32))
    version = folder / "models" / name / "1"
    signatures = export_saved_model(model, [f"item-{number}" for number in range(items)], version)
    manifest = new_manifest(name, contract_version=1, signatures=signatures)
    manifest.version = 1
    write_manifest(manifest, version)
    return version


def _write_events(folder: Path, users: int, items: int, events_per_user: int) -> Path:
    """An export with one file for each million events."""
    import pyarrow as pa
    from pyarrow import parquet

    from tastemaker_jobs.data.ratings import sha256_of

    rng, folder_files, position = np.random.default_rng(_SEED), [], 0
    folder.mkdir()
    rounds = max(1, users * events_per_user // 1_000_000)
    for number in range(rounds):
        count = users * events_per_user // rounds
        user = rng.integers(0, users, count)
        table = pa.table(
            {
                "user_id": [f"user-{value}" for value in user.tolist()],
                "item_id": [f"item-{value}" for value in rng.integers(0, items, count).tolist()],
                "event_type": pa.array(["CONSUME"] * count),
                "rating": pa.array([None] * count, pa.float32()),
                "event_time_micros": rng.integers(0, 10**15, count),
                "position": np.arange(position + 1, position + count + 1),
            }
        )
        position += count
        path = folder / f"events-{number:05}.parquet"
        parquet.write_table(table, path)
        folder_files.append({"name": path.name, "count": count, "sha256": sha256_of(path)})
    content = {"after": 0, "first_position": 1, "last_position": position, "count": position, "files": folder_files}
    (folder / "export.json").write_text(json.dumps(content))
    return folder
