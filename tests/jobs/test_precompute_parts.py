"""Lists computed ahead: dealing, histories, popular lists, the arguments. Without TensorFlow and Ray."""

import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from tests.jobs.precomputing import read_lists, write_export

from tastemaker_jobs.cli import main
from tastemaker_jobs.errors import ListsError
from tastemaker_jobs.precompute.buckets import bucket_numbers, deal, read_bucket, summary_of
from tastemaker_jobs.precompute.event_files import COLUMNS, event_tables, export_files
from tastemaker_jobs.precompute.generations import claim, newest_whole, read_manifest
from tastemaker_jobs.precompute.plan import Plan
from tastemaker_jobs.precompute.questions import histories
from tastemaker_jobs.precompute.request import Kind, Precompute
from tastemaker_jobs.precompute.shards import finish_shard, open_shard, read_record
from tastemaker_jobs.precompute.whole_files import write_text

DAY = 86_400_000_000


def test_rows_of_a_key_lie_in_one_bucket_and_none_is_lost(tmp_path):
    keys = [f"user-{number % 50}" for number in range(1000)]
    {"folder": tmp_path / "d", "aside": tmp_path / "drafts"}
    table = pa.table({"user_id": keys, "time": list(range(1000))})
    for source in ("a", "b"):
        deal(
            [table.slice(0, 300), table.slice(300)],
            key="user_id",
            buckets=7,
            folder=tmp_path / "d",
            aside=tmp_path / "drafts",
            source=source,
        )
    read = [read_bucket(tmp_path / "d", bucket) for bucket in range(7)]
    users = [set(bucket.column("user_id").to_pylist()) for bucket in read]
    assert sum(map(len, users)) == len(set.union(*users)) == 50
    assert sorted(np.concatenate([bucket.column("time") for bucket in read])) == sorted([*range(1000)] * 2)
    assert bucket_numbers(pa.array(["user-3"]), 7)[0] == next(n for n in range(7) if "user-3" in users[n])


def test_source_that_was_not_dealt_to_its_end_is_not_read(tmp_path):
    {"folder": tmp_path / "d", "aside": tmp_path / "drafts"}
    deal(
        [pa.table({"key": ["a"]})],
        key="key",
        buckets=1,
        folder=tmp_path / "d",
        aside=tmp_path / "drafts",
        source="whole",
    )
    deal(
        [pa.table({"key": ["b"]})],
        key="key",
        buckets=1,
        folder=tmp_path / "d",
        aside=tmp_path / "drafts",
        source="cut-off",
    )
    (tmp_path / "d" / "cut-off.json").unlink()
    assert read_bucket(tmp_path / "d", 0).column("key").to_pylist() == ["a"]
    assert summary_of(tmp_path / "d", "cut-off") is None


def test_worker_that_outlives_its_driver_can_finish_nothing_beside_the_next_run(tmp_path):
    request = Precompute(Kind.POPULAR, "home", tmp_path, 5)
    request.folder.mkdir()
    before = Plan(request, claim(request.folder, fingerprint="f", settings={})[0], shards=3)
    keys, lists = pa.array(["u"]), pa.array([b"l"], pa.binary())

    def write(plan, number, more=lambda: None):
        with open_shard(plan, number) as shard:
            shard.add(keys, lists)
            more()
        return finish_shard(plan, number, list_count=1, carried=0, skipped={}, seconds=1.0)

    finished = write(before, 0)
    runs = []

    def driver_dies_and_the_same_command_is_given_again():
        generation, _ = claim(request.folder, fingerprint="f", settings={})
        runs.append(Plan(request, generation, shards=3))
        write_text(runs[0].questions(2), "asked", aside=generation.drafts)

    with pytest.raises(ListsError):  # amid a shard
        write(before, 1, driver_dies_and_the_same_command_is_given_again)
    (plan,) = runs
    assert plan.generation.folder == before.generation.folder
    with pytest.raises(ListsError):  # the next shard
        write(before, 1)
    with pytest.raises(ListsError):  # its file was there in time, its record not
        finish_shard(before, 0, list_count=9, carried=0, skipped={}, seconds=1.0)
    assert read_record(plan, 0) == finished
    assert not plan.shard(1).exists()
    assert plan.questions(2).read_text() == "asked"
    assert not before.questions(2).exists()
    write(plan, 1)
    assert sorted(path.name for path in plan.generation.work.iterdir()) == ["records", plan.generation.run.name]


def test_generations_before_the_newest_ones_are_removed_once_there_is_a_new_one(tmp_path, capsys):
    rows = [("u", "a", "CONSUME", 1), ("v", "b", "CONSUME", 2)]
    write_export(tmp_path / "export", rows)
    argv = ["precompute", "--kind", "popular", "--no-ray", "--lists-dir", f"{tmp_path}/lists", "--keep", "2"]
    folder = tmp_path / "lists" / "popular"

    def run(*more):
        assert main([*argv, "--events", f"{tmp_path}/export", *more]) == 0
        return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())

    assert run() == [1]
    (folder / "2").mkdir()  # of a run that never ended
    assert run() == [1, 2, 3]
    assert "removed" not in capsys.readouterr().err
    assert run() == [3, 4]
    assert "removed older generations: 1, 2" in capsys.readouterr().err
    assert run("--keep", "1") == [5]
    with pytest.raises(SystemExit):
        main([*argv, "--keep", "0"])


def test_histories_are_in_order_of_time_then_position_and_exclude_what_was_consumed():
    rows = [
        ("ann", "x", True, 5, 2),
        ("bob", "z", False, 1, 1),
        ("ann", "y", True, 5, 1),
        ("ann", "w", True, 3, 9),
        ("ann", "x", True, 9, 4),
        ("ann", "v", False, 7, 3),
    ]
    events = pa.table(dict(zip(COLUMNS.names, zip(*rows, strict=True), strict=True)), schema=COLUMNS)
    found = {row["key"]: row for row in histories(events, 4).to_pylist()}
    assert found["ann"]["history"] == ["y", "x", "v", "x"]
    assert found["ann"]["exclude"] == ["w", "x", "y"]
    assert (found["ann"]["event_time_micros"], found["ann"]["position"]) == (9, 9)
    assert found["bob"]["history"] == ["z"]
    assert found["bob"]["exclude"] == []


def test_export_is_read_and_a_changed_file_is_refused(tmp_path):
    rows = [("u", "a", "VIEW", 1), ("u", "b", "PURCHASE", 2), ("v", "c", "consume", 3)]
    folder = write_export(tmp_path / "export", rows)
    files = export_files(folder)
    assert (files.position, files.event_count) == (3, 3)
    tables = [table for number in range(2) for table in event_tables(files, number, consuming=["purchase", "consume"])]
    assert pa.concat_tables(tables).column("is_consumed").to_pylist() == [False, True, True]
    (folder / "events-0.parquet").write_bytes((folder / "events-1.parquet").read_bytes())
    with pytest.raises(Exception, match="its SHA-256 differs"):
        list(event_tables(files, 0, consuming=[]))


def popular(tmp_path, *more, rows):
    events = write_export(tmp_path / "export", rows)
    argv = ["precompute", "--kind", "popular", "--no-ray", "--lists-dir", f"{tmp_path}/lists"]
    status = main([*argv, "--events", str(events), *more])
    return status, newest_whole(tmp_path / "lists" / "popular") if status == 0 else None


ROWS = [
    ("ann", "old", "CONSUME", 0),
    ("bob", "old", "CONSUME", 0),
    ("ann", "new", "CONSUME", 30 * DAY),
    ("ann", "new", "CONSUME", 29 * DAY),
    ("bob", "seen", "VIEW", 30 * DAY),
    ("cid", "tie", "CONSUME", 0),
    ("bob", "tie", "RATE", 0),
]


def test_popular_lists_count_each_pair_once_and_less_with_age(tmp_path):
    segments = tmp_path / "segments.csv"
    segments.write_text("user_id,segment\nann,de\nbob,fr\nbob,all-of-us\nnobody,it\n")
    status, folder = popular(tmp_path, "--segments", str(segments), rows=ROWS)
    assert status == 0
    lists = read_lists(folder)
    assert lists == {
        "": [("new", 1.0), ("old", 1.0), ("tie", 1.0)],
        "de": [("new", 1.0), ("old", 0.5)],
        "fr": [("old", 0.5), ("tie", 0.5)],
        "all-of-us": [("old", 0.5), ("tie", 0.5)],
    }
    manifest = read_manifest(folder)
    assert (manifest.event_log_position, manifest.model_name, manifest.key) == (7, "", 3)


def test_popular_lists_keep_to_the_catalogue_and_to_k(tmp_path):
    items = tmp_path / "items.csv"
    items.write_text("item_id,title\nold,Old\ntie,Tie\n")
    status, folder = popular(tmp_path, "--items", str(items), "--k", "1", rows=ROWS)
    assert status == 0
    assert read_lists(folder) == {"": [("old", 1.0)]}
    assert read_manifest(folder).skipped == {"item_not_in_catalogue": 1}
    assert popular(tmp_path, rows=ROWS)[1].name == "2"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--surface", "Home", "--model-dir", "m"], "a letter first"),
        (["--surface", "9a", "--model-dir", "m"], "a letter first"),
        (["--model-dir", "m"], "which surface are the lists for?"),
        (["--surface", "home"], "which model? Name its folder with --model-dir"),
        (["--surface", "home", "--model-dir", "m", "--k", "0"], "'0' is not a whole number of 1 to 10000"),
        (["--kind", "popular", "--half-life-days", "0"], "'0' is not a number of days above 0"),
        (["--kind", "popular", "--half-life-days", "nan"], "'nan' is not a number of days above 0"),
        (["--kind", "popular", "--now", "soon"], "'soon' is no time"),
        (["--kind", "popular", "--model-dir", "m"], "--model-dir does not go with --kind popular"),
        (["--kind", "similar", "--model-dir", "m", "--events", "e"], "--events does not go with --kind similar"),
        (["--surface", "home", "--model-dir", "m", "--ratings", "r", "--incremental"], "--incremental needs --events"),
        (["--surface", "home", "--model-dir", "m", "--no-ray", "--workers", "2"], "leave --no-ray out"),
    ],
)
def test_arguments_that_are_wrong_or_do_not_go_together_are_named(argv, says, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["precompute", *argv])
    assert stop.value.code == 2
    assert says in capsys.readouterr().err


def test_files_that_cannot_be_used_are_named(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    events = write_export(tmp_path / "export", ROWS)

    def error(*more):
        argv = ["precompute", "--kind", "popular", "--no-ray", "--lists-dir", f"{tmp_path}/lists"]
        assert main([*argv, *map(str, more)]) == 1
        return capsys.readouterr().err

    assert "export.json cannot be read" in error("--events", tmp_path / "empty")
    assert "has only the events after position 4" in error("--events", write_export(tmp_path / "part", ROWS, after=4))
    without = pa.table({"user_id": ["a"], "item_id": ["b"]})
    parquet.write_table(without, tmp_path / "part" / "events-0.parquet")
    write = json.loads((tmp_path / "part" / "export.json").read_text())
    (tmp_path / "part" / "export.json").write_text(json.dumps({**write, "after": 0}))
    assert "has no column event_type and no event_time_micros" in error("--events", tmp_path / "part")
    (tmp_path / "part" / "export.json").write_text(json.dumps({**write, "after": 0, "files": []}))
    assert "has no events" in error("--events", tmp_path / "part")
    (tmp_path / "segments.csv").write_text("user_id,segment\nann,\n")
    assert "line 2: give a user_id and a segment" in error("--events", events, "--segments", tmp_path / "segments.csv")
    assert "there is no event of the types nap" in error("--events", events, "--consuming", "nap")
    (tmp_path / "file").write_text("")
    assert f"{tmp_path}/file/popular cannot be written" in error("--events", events, "--lists-dir", tmp_path / "file")
    assert main(["precompute", "--surface", "home", "--model-dir", str(tmp_path / "none"), "--users", "active:d"]) == 1
    assert "has no version of a model" in capsys.readouterr().err
