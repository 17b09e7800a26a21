"""`precompute` with a small SavedModel: in this process, cut off and gone on with, and on a Ray of its own."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tastemaker_jobs.cli import main
from tastemaker_jobs.data.ratings import Ratings
from tastemaker_jobs.errors import ClusterTooSmallError, ContractError, ListsError, WorkerLostError
from tastemaker_jobs.precompute.generations import newest_whole, read_manifest
from tastemaker_jobs.testing.synthetic import synthetic_ratings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

USERS = 60
# Ray Data 2.60 sets its own deprecated settings when it makes its context.
rays_own_settings = pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")


def _helpers():
    """What test_precompute_parts has; with importlib mode, tests do not import each other by name."""
    import importlib.util

    path = Path(__file__).with_name("test_precompute_parts.py")
    spec = importlib.util.spec_from_file_location("precompute_parts", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_export, module.read_lists


write_export, read_lists = _helpers()


def rows_of(ratings: Ratings):
    columns = (ratings.user_id, ratings.item_id, ratings.timestamp.tolist())
    return [(user, item, "CONSUME", at * 1_000_000) for user, item, at in zip(*columns, strict=True)]


@pytest.fixture(scope="module")
def rows():
    return rows_of(synthetic_ratings(seed=3, users=USERS))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
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


@pytest.fixture(scope="module")
def ask(model):
    """A user's list as version 1 gives it when it is asked for that user alone."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(model / "1"))

    def answer(rows, user, k):
        mine = [row for row in rows if row[0] == user]
        items = [row[1] for row in sorted(mine, key=lambda row: row[3])]  # of one time in the order of the log
        found = loaded.signatures["recommend"](
            history=tf.constant([items[-50:]]), exclude=tf.constant([items]), k=tf.constant(k)
        )
        pairs = zip(found["item_id"].numpy()[0], found["score"].numpy()[0], strict=True)
        return [(item.decode(), float(score)) for item, score in pairs if item]

    return answer


def command(folder, model, *more):
    where = ["--model-dir", str(model / "1"), "--lists-dir", f"{folder}/lists", "--events", f"{folder}/export"]
    return ["precompute", "--surface", "home", "--k", "5", *where, *more]


def same(found, expected):
    assert [item for item, _ in found] == [item for item, _ in expected]
    np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], rtol=1e-4, atol=1e-6)


def test_lists_are_what_the_model_answers_and_hold_nothing_consumed(tmp_path, model, rows, ask):
    write_export(tmp_path / "export", rows)
    assert main(command(tmp_path, model, "--no-ray", "--batch-size", "4")) == 0
    folder = newest_whole(tmp_path / "lists" / "home")
    lists, manifest = read_lists(folder), read_manifest(folder)
    assert set(lists) == {row[0] for row in rows}
    for user, found in lists.items():
        same(found, ask(rows, user, 5))
        assert not {item for item, _ in found} & {row[1] for row in rows if row[0] == user}
    assert (manifest.name, manifest.generation, manifest.key, len(manifest.shards)) == ("home", 1, 1, 8)
    assert (manifest.model_name, manifest.model_version, manifest.max_list_length) == ("autoencoder", 1, 5)
    assert manifest.event_log_position == len(rows)
    assert sorted(path.name for path in folder.iterdir() if path.name[0] == ".") == []


def test_named_users_without_history_are_counted_and_views_do_not_keep_an_item_off(tmp_path, model, rows, capsys):
    seen = [(user, item, "VIEW", at) for user, item, _, at in rows]
    write_export(tmp_path / "export", seen)
    users = tmp_path / "users.txt"
    users.write_text("user-1\nno-such-user\n\nuser-2\nuser-1\nneither\n")
    assert main(command(tmp_path, model, "--no-ray", "--users", str(users), "--k", "30")) == 0
    folder = newest_whole(tmp_path / "lists" / "home")
    lists = read_lists(folder)
    assert set(lists) == {"user-1", "user-2"}
    assert len(lists["user-1"]) == 30
    assert read_manifest(folder).skipped == {"user_without_history": 2}
    said = capsys.readouterr()
    assert "left out: user_without_history 2" in said.err
    assert f"publish-lists --lists {tmp_path}/lists/home" in said.err
    assert said.out == f"{folder}\n"


def test_only_active_users_are_asked(tmp_path, model, rows):
    day = 86_400_000_000
    write_export(tmp_path / "export", [*rows, ("late", "film-1", "CONSUME", 400 * day)])
    assert main(command(tmp_path, model, "--no-ray", "--users", "active:30d")) == 0
    assert set(read_lists(newest_whole(tmp_path / "lists" / "home"))) == {"late"}


def test_items_that_left_the_catalogue_are_dropped_and_lists_stay_full(tmp_path, model, rows, ask):
    write_export(tmp_path / "export", rows)
    items = tmp_path / "items.csv"
    kept = [f"film-{number}" for number in range(0, 30, 4)]
    items.write_text("\n".join(["item_id", *kept]) + "\n")
    assert main(command(tmp_path, model, "--no-ray", "--k", "3", "--items", str(items))) == 0
    folder = newest_whole(tmp_path / "lists" / "home")
    for user, found in read_lists(folder).items():
        same(found, [pair for pair in ask(rows, user, 30) if pair[0] in kept][:3])
    assert read_manifest(folder).skipped["item_not_in_catalogue"] > 0


def test_users_who_consumed_everything_are_counted(tmp_path, model, rows):
    everything = [("glutton", f"film-{number}", "CONSUME", number) for number in range(30)]
    write_export(tmp_path / "export", [*everything, *rows])
    assert main(command(tmp_path, model, "--no-ray")) == 0
    folder = newest_whole(tmp_path / "lists" / "home")
    assert "glutton" not in read_lists(folder)
    assert read_manifest(folder).skipped == {"nothing_to_recommend": 1}


def test_similar_items_are_what_the_model_answers(tmp_path, model):
    import tensorflow as tf

    argv = ["precompute", "--kind", "similar", "--k", "4", "--no-ray", "--lists-dir", f"{tmp_path}/lists"]
    items = tmp_path / "items.csv"
    items.write_text("item_id\n" + "".join(f"film-{number}\n" for number in range(20)) + "new\n")
    assert main([*argv, "--model-dir", str(model / "1")]) == 0
    assert main([*argv, "--model-dir", str(model / "1"), "--items", str(items)]) == 0
    every, listed = (read_lists(tmp_path / "lists" / "similar" / str(number)) for number in (1, 2))
    similar = tf.saved_model.load(str(model / "1")).signatures["similar"]
    for item, found in every.items():
        answer = similar(item_id=tf.constant([item]), exclude=tf.constant([[""]]), k=tf.constant(4))
        assert [other.encode() for other, _ in found] == answer["item_id"].numpy()[0].tolist()
    assert len(every) == 30
    assert len(listed) == 20
    assert {other for found in listed.values() for other, _ in found} <= set(listed)
    manifest = read_manifest(tmp_path / "lists" / "similar" / "2")
    assert manifest.skipped["nothing_to_recommend"] == 1
    assert (manifest.key, manifest.event_log_position) == (2, 0)


def test_incremental_run_is_a_full_run_for_the_changed_and_leaves_the_others(tmp_path, model, rows, capsys):
    write_export(tmp_path / "export", rows)
    assert main(command(tmp_path, model, "--no-ray")) == 0
    before = read_lists(tmp_path / "lists" / "home" / "1")
    shutil.rmtree(tmp_path / "export")
    late = [(user, before[user][0][0], "CONSUME", at) for user, at in (("user-1", 1), ("user-2", 9**14))]
    placed = [*rows, *late, ("new", "film-5", "CONSUME", 5)]
    write_export(tmp_path / "export", placed, erased="user-9")
    assert main(command(tmp_path, model, "--no-ray", "--incremental")) == 0
    assert "3 computed" in capsys.readouterr().err
    assert main(command(tmp_path, model, "--no-ray")) == 0
    after, full = (read_lists(tmp_path / "lists" / "home" / str(number)) for number in (2, 3))
    changed = {"user-1", "user-2", "new"}
    assert set(after) == set(full) == (set(before) | {"new"}) - {"user-9"}
    for user, found in after.items():
        if user in changed:
            same(found, full[user])
            assert found != before.get(user)
        else:
            assert found == before[user]
    manifest = read_manifest(tmp_path / "lists" / "home" / "2")
    assert (manifest.parent_generation, manifest.event_log_position) == (1, len(placed))
    assert manifest.skipped == {"no_longer_asked": 1}

    assert main(command(tmp_path, model, "--no-ray", "--incremental", "--k", "6")) == 1
    assert "was computed with k 5, and now it is 6" in capsys.readouterr().err
    other = ["--model-dir", str(model / "2")]
    assert main(command(tmp_path, model, "--no-ray", "--incremental", *other)) == 1
    assert "was computed with model autoencoder version 1, and now it is autoencoder" in capsys.readouterr().err
    assert main(command(tmp_path, model, "--no-ray", "--incremental", "--surface", "cart")) == 1
    assert "cart has no whole generation to go on from. Run without --incremental" in capsys.readouterr().err


def test_models_that_cannot_do_it_are_refused_by_name(tmp_path, model, rows, capsys):
    write_export(tmp_path / "export", rows)
    bad = tmp_path / "m" / "1"
    shutil.copytree(model / "1", bad)
    text = (bad / "manifest.json").read_text()

    def error(*more):
        assert main(command(tmp_path, model, "--no-ray", "--model-dir", str(bad), *more)) == 1
        return capsys.readouterr().err

    (bad / "manifest.json").write_text(text.replace('"similar"', '"dissimilar"'))
    argv = ["precompute", "--kind", "similar", "--no-ray", "--model-dir", str(bad), "--lists-dir", f"{tmp_path}/lists"]
    assert main(argv) == 1
    assert f"{bad} has no signature `similar`" in capsys.readouterr().err
    (bad / "manifest.json").write_text(text.replace('"contract_version": 1', '"contract_version": 2'))
    assert "keeps version 2 of the contract of signatures" in error()
    (bad / "manifest.json").write_text(text)
    (bad / "saved_model.pb").write_bytes(b"no model")
    assert f"{bad} is not a SavedModel that can be loaded" in error()
    assert "there is no such file" in error("--users", str(tmp_path / "nobody"))
    (tmp_path / "nobody").write_text("\n")
    assert "names no user" in error("--users", str(tmp_path / "nobody"))
    assert newest_whole(tmp_path / "lists" / "home") is None


def test_a_model_that_lists_what_was_excluded_is_found_out(tmp_path, rows, model):
    import tensorflow as tf

    from tastemaker_jobs.commands.precompute import model_of
    from tastemaker_jobs.precompute.event_files import export_files
    from tastemaker_jobs.precompute.request import Kind, Precompute
    from tastemaker_jobs.precompute.run import precompute
    from tastemaker_jobs.precompute.steps import InThisProcess

    write_export(tmp_path / "export", rows)
    module, ids = tf.Module(), tf.TensorSpec([None, None], tf.string)

    def recommend(history, exclude, k):
        del exclude, k
        return {"item_id": history[:, -1:], "score": tf.ones_like(history[:, -1:], tf.float32)}

    module.recommend = tf.function(recommend, [ids, ids, tf.TensorSpec(None, tf.int32)])
    bad = tmp_path / "bad" / "1"
    tf.saved_model.save(module, str(bad), signatures={"recommend": module.recommend})
    shutil.copy(model / "1" / "manifest.json", bad)
    request = Precompute(
        Kind.USERS,
        "home",
        tmp_path / "lists",
        1,
        events=export_files(tmp_path / "export"),
        model=model_of(bad, "recommend"),
    )
    with pytest.raises(ContractError, match="lists items that were excluded, for user user-"):
        precompute(request, InThisProcess(), lambda _: None)


def test_how_far_it_is_can_be_scraped(tmp_path, model, rows, free_port, scraped_at):
    write_export(tmp_path / "export", rows)
    argv = command(tmp_path, model, "--no-ray", "--metrics-address", f"127.0.0.1:{free_port}")
    seen = scraped_at(f"http://127.0.0.1:{free_port}/metrics", "shard", argv)
    shard = {"command": "precompute", "part": "shard"}
    assert [scraped.value("tastemaker_jobs_parts_done", **shard) for scraped in seen] == list(range(9))
    assert {scraped.value("tastemaker_jobs_parts", **shard) for scraped in seen} == {8}
    users = len({row[0] for row in rows})
    assert seen[-1].samples("tastemaker_jobs_lists_total") == {("home", "computed"): users}


def test_a_shard_that_was_begun_before_counts_as_begun_again(tmp_path, model, rows):
    from tastemaker_jobs.commands.precompute import model_of
    from tastemaker_jobs.precompute.event_files import export_files
    from tastemaker_jobs.precompute.request import Kind, Precompute
    from tastemaker_jobs.precompute.run import precompute
    from tastemaker_jobs.precompute.steps import InThisProcess

    class LosesItsFirstAnswer(InThisProcess):
        def with_model(self, before, load, arguments):
            score = load()
            score(before(next(iter(arguments))))  # as of a worker that died before it could answer
            return super().with_model(before, lambda: score, arguments)

    write_export(tmp_path / "export", rows)
    events, chosen = export_files(tmp_path / "export"), model_of(model / "1", "recommend")
    request = Precompute(Kind.USERS, "home", tmp_path / "lists", 5, events=events, model=chosen)
    told = []
    precompute(request, LosesItsFirstAnswer(), lambda _: None, shard_report=told.append)
    assert [event.retries for event in told] == [0, 1, 0, 0, 0, 0, 0, 0, 0]


def finished(folder):
    """Shards of generation 1 with the time that each was last written."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "lists/home/1").glob("shard-*.parquet")}


class Run:
    """The command in a process of its own."""

    def __init__(self, folder, argv, **more):
        self.log = folder / f"{time.monotonic()}.log"
        with self.log.open("w") as log:
            self.process = psutil.Popen(
                [sys.executable, "-m", "tastemaker_jobs.cli", *argv], stdout=log, stderr=log, **more
            )

    def wait_for(self, text, seconds=120):
        deadline = time.monotonic() + seconds
        while text not in self.said():
            assert time.monotonic() < deadline, self.said()
            assert self.process.poll() is None, self.said()
            time.sleep(0.02)

    def said(self):
        return self.log.read_text()

    def kill(self):
        for process in [self.process, *self.process.children(recursive=True)]:
            if process.is_running():
                process.kill()
        self.process.wait(30)


def test_full_disk_is_an_error_that_keeps_what_was_finished(tmp_path, model, rows, capsys):
    write_export(tmp_path / "export", rows)

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    argv = command(tmp_path, model, "--no-ray", "--shards", "1", "--k", "30")
    done = subprocess.run(
        [sys.executable, "-m", "tastemaker_jobs.cli", *argv],
        preexec_fn=little_room,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot be written: File too large. What was finished before is kept" in done.stderr
    assert newest_whole(tmp_path / "lists" / "home") is None
    assert main(argv) == 0
    assert "going on with generation 1" in capsys.readouterr().err
    assert len(read_lists(newest_whole(tmp_path / "lists" / "home"))) == USERS


def test_killed_driver_is_gone_on_with_and_scores_no_shard_twice(tmp_path, model, rows, capsys):
    write_export(tmp_path / "export", rows)
    argv = command(tmp_path, model, "--no-ray", "--shards", "40", "--batch-size", "1")
    run = Run(tmp_path, argv)
    run.wait_for("3 of 40 shards")
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait(30)
    before = finished(tmp_path)
    assert 3 <= len(before) < 40
    assert newest_whole(tmp_path / "lists" / "home") is None
    assert main(command(tmp_path, model, "--no-ray", "--shards", "40")) == 0
    after = finished(tmp_path)
    again = [name for name, at in before.items() if after[name] != at]
    assert len(again) <= 1, "at most the shard whose file was there and whose record was not"
    said = capsys.readouterr().err
    assert f"{len(before) - len(again)} shards were finished before" in said
    assert len(read_lists(newest_whole(tmp_path / "lists" / "home"))) == USERS


@pytest.mark.faults
def test_killed_cluster_is_gone_on_with_and_scores_no_shard_twice(tmp_path, model, rows):
    write_export(tmp_path / "export", rows)
    argv = command(tmp_path, model, "--workers", "1", "--shards", "60", "--batch-size", "1")
    first = Run(tmp_path, argv)
    try:
        first.wait_for("3 of 60 shards")
    finally:
        first.kill()
    before = finished(tmp_path)
    second = Run(tmp_path, argv)
    assert second.process.wait(200) == 0, second.said()
    after = finished(tmp_path)
    assert 3 <= len(before) < 60
    assert len([name for name, at in before.items() if after[name] != at]) <= 1
    assert "going on with generation 1" in second.said()
    assert "Warning" not in second.said()
    assert len(read_lists(newest_whole(tmp_path / "lists" / "home"))) == USERS


def test_a_shard_that_kills_its_worker_again_and_again_ends_the_run(tmp_path, model, rows):
    from tastemaker_jobs.commands.precompute import model_of
    from tastemaker_jobs.precompute import run
    from tastemaker_jobs.precompute.generations import claim
    from tastemaker_jobs.precompute.plan import Plan
    from tastemaker_jobs.precompute.request import Kind, Precompute

    def lost(number):
        raise MemoryError

    request = Precompute(Kind.USERS, "home", tmp_path / "lists", 1, model=model_of(model / "1", "recommend"))
    request.folder.mkdir(parents=True)
    plan = Plan(request, claim(request.folder, fingerprint="f", settings={})[0], 1)
    for _ in range(4):
        with pytest.raises(MemoryError):
            run._score(plan, lost, 0)
    with pytest.raises(WorkerLostError, match="was begun 4 times, and its worker was lost each time"):
        run._score(plan, lost, 0)


def test_other_inputs_begin_a_new_generation_and_a_second_run_at_once_is_refused(tmp_path, model, rows, capsys):
    from tastemaker_jobs.precompute.generations import claim, only_run

    folder = tmp_path / "lists" / "home"
    write_export(tmp_path / "export", rows)
    with only_run(folder):
        claim(folder, fingerprint="another", settings={})
        assert main(command(tmp_path, model, "--no-ray")) == 1
    assert "another precompute is writing" in capsys.readouterr().err
    assert main(command(tmp_path, model, "--no-ray")) == 0
    assert "generation 1 was begun with other inputs and never finished" in capsys.readouterr().err
    assert newest_whole(folder).name == "2"


@pytest.fixture(scope="module")
def on_ray():
    pytest.importorskip("ray")
    from tastemaker_jobs import environment
    from tastemaker_jobs.ray_cluster import connected

    environment.quiet_libraries()
    with connected(None, spare_cores=1):
        yield


@rays_own_settings
def test_on_ray_the_lists_are_the_same_and_a_killed_actor_is_replaced(tmp_path, model, rows, on_ray):
    from tastemaker_jobs.commands.precompute import model_of
    from tastemaker_jobs.on_ray_precompute import OnRay
    from tastemaker_jobs.precompute.event_files import export_files
    from tastemaker_jobs.precompute.request import Kind, Precompute
    from tastemaker_jobs.precompute.run import precompute

    write_export(tmp_path / "export", rows)
    assert main(command(tmp_path, model, "--no-ray", "--shards", "60")) == 0
    killed = []

    def kill_once(text):
        if "of 60 shards; shard-" in text and not killed:
            actors = [found for found in psutil.Process().children(recursive=True) if "_Actor" in found.name()]
            actors = actors or [
                found
                for found in psutil.Process().children(recursive=True)
                if "MapWorker" in "".join(found.cmdline() or [""])
            ]
            assert actors
            killed.append(actors[0].pid)
            actors[0].kill()

    request = Precompute(
        Kind.USERS,
        "home",
        tmp_path / "lists",
        5,
        events=export_files(tmp_path / "export"),
        model=model_of(model / "1", "recommend"),
        shards=60,
        batch_size=1,
    )
    outcome = precompute(request, OnRay(workers=2, gpu=False), kill_once)
    assert killed
    assert outcome.folder.name == "2"
    plain, found = (read_lists(tmp_path / "lists" / "home" / str(number)) for number in (1, 2))
    assert set(plain) == set(found)
    for user in plain:
        same(found[user], plain[user])


@rays_own_settings
def test_an_error_in_a_worker_comes_home_and_too_many_workers_are_refused(tmp_path, model, rows, on_ray):
    from tastemaker_jobs.on_ray_precompute import OnRay

    def fail(number):
        raise ListsError(f"shard {number}: no room")

    steps = OnRay(workers=1, gpu=False)
    with pytest.raises(ListsError, match="shard 3: no room"):
        list(steps.each(fail, [3]))
    assert sorted(steps.with_model(lambda number: number + 1, lambda: lambda number: 2 * number, [1, 2])) == [4, 6]
    with pytest.raises(ClusterTooSmallError, match=r"asked for 30 workers of one core each.*the cluster has \d+ cores"):
        OnRay(workers=30, gpu=False)
    with pytest.raises(ClusterTooSmallError, match="a GPU each"):
        OnRay(workers=1, gpu=True)
