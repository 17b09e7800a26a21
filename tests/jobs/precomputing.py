"""What tests of `precompute` share: exports to compute from, a small model, the command, lists as they were written."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import parquet

from tastemaker.artefacts.v1.state_pb2 import RankedList
from tastemaker_jobs.data.ratings import Ratings, sha256_of
from tastemaker_jobs.precompute.generations import read_manifest
from tastemaker_jobs.testing.synthetic import synthetic_ratings

USERS = 60


def write_export(folder, rows, *, files=2, after=0, erased=None):
    """An export as `tastemaker-server export-events` writes it: user, item, type, time; a user may be erased."""
    folder.mkdir(exist_ok=True)
    entries = []
    for number, part in enumerate(np.array_split(np.arange(len(rows)), files)):
        users, items, types, times = zip(*(rows[row] for row in part), strict=True)
        table = pa.table(
            {
                "user_id": users,
                "item_id": items,
                "event_type": pa.array(types).dictionary_encode(),
                "rating": pa.array([None] * len(part), pa.float32()),
                "event_time_micros": times,
                "position": part + 1,
            }
        )
        name = f"events-{number}.parquet"
        if erased is not None:
            table = table.filter(pc.not_equal(table.column("user_id"), erased))
        parquet.write_table(table, folder / name)
        entries.append({"name": name, "count": len(table), "sha256": sha256_of(folder / name)})
    content = {"after": after, "last_position": len(rows), "count": len(rows), "files": entries}
    (folder / "export.json").write_text(json.dumps(content))
    return folder


def read_lists(folder):
    """Key to items and scores, whatever shard they are in; the manifest's checksums and counts are held against it."""
    manifest, found = read_manifest(folder), {}
    for shard in manifest.shards:
        path = folder / shard.file
        assert sha256_of(path) == shard.sha256
        assert path.stat().st_size == shard.byte_count
        table = parquet.read_table(path)
        assert table.schema.equals(pa.schema({"key": pa.string(), "list": pa.binary()}))
        assert len(table) == shard.list_count
        for key, value in zip(*table.to_pydict().values(), strict=True):
            ranked = RankedList.FromString(value)
            assert key not in found
            found[key] = list(zip(ranked.item_ids, ranked.scores, strict=True))
    assert manifest.list_count == len(found)
    return found


def rows_of(ratings: Ratings):
    columns = (ratings.user_id, ratings.item_id, ratings.timestamp.tolist())
    return [(user, item, "CONSUME", at * 1_000_000) for user, item, at in zip(*columns, strict=True)]


@pytest.fixture(scope="session")
def event_rows():
    """Users, items, event types and times."""
    return rows_of(synthetic_ratings(seed=3, users=USERS))


@pytest.fixture(scope="session")
def two_versions(tmp_path_factory):
    """Versions 1 and 2 of a small autoencoder, which differ."""
    from tastemaker_jobs.models.signatures import export_saved_model
    from tastemaker_jobs.publishing.manifests import new_manifest, write_manifest
    from tastemaker_jobs.testing.models import train_small

    folder = tmp_path_factory.mktemp("models") / "autoencoder"
    folder.mkdir()
    for number in (1, 2):
        trained, vocabulary = train_small("autoencoder", synthetic_ratings(seed=3, users=USERS), seed=number)
        signatures = export_saved_model(trained, vocabulary.item_ids, folder / str(number))
        manifest = new_manifest("autoencoder", contract_version=1, signatures=signatures)
        manifest.version = number
        write_manifest(manifest, folder / str(number))
    return folder


def command(folder, model, *more):
    where = ["--model-dir", str(model / "1"), "--lists-dir", f"{folder}/lists", "--events", f"{folder}/export"]
    return ["precompute", "--surface", "home", "--k", "5", *where, *more]


def same(found, expected):
    assert [item for item, _ in found] == [item for item, _ in expected]
    np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], rtol=1e-4, atol=1e-6)
