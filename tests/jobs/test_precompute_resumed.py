"""`precompute` that is cut off, killed or out of room, and gone on with; and on a Ray of its own."""

import os
import resource
import signal
import subprocess
import sys
import time

import psutil
import pytest
from tests.jobs.precomputing import USERS, command, read_lists, same, write_export

from tastemaker_jobs.cli import main
from tastemaker_jobs.errors import ClusterTooSmallError, ListsError, WorkerLostError
from tastemaker_jobs.precompute.generations import newest_whole

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# Ray Data 2.60 sets its own deprecated settings when it makes its context.
rays_own_settings = pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")


@pytest.fixture
def rows(event_rows):
    return event_rows


@pytest.fixture
def model(two_versions):
    return two_versions


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


def request_of(folder, model, *, shards):
    """What `command` asks for, from the same folder, one user at a time."""
    from tastemaker_jobs.commands.precompute import model_of
    from tastemaker_jobs.precompute.event_files import export_files
    from tastemaker_jobs.precompute.request import Kind, Precompute

    return Precompute(
        Kind.USERS,
        "home",
        folder / "lists",
        5,
        events=export_files(folder / "export"),
        model=model_of(model / "1", "recommend"),
        shards=shards,
        batch_size=1,
    )


@pytest.mark.parametrize("is_recorded", [False, True])
def test_a_worker_lost_after_it_wrote_its_shard_is_replaced(tmp_path, model, rows, monkeypatch, is_recorded):
    from tastemaker_jobs.precompute import run, scoring

    class Replaced:
        """Steps in which the worker of the first shard is lost once: after its record, or just before it."""

        each = staticmethod(map)

        def with_model(self, before, load, arguments):
            score, record = load(), scoring.finish_shard

            def lost(plan, number, **found):
                if is_recorded:
                    record(plan, number, **found)
                raise MemoryError

            for place, number in enumerate(arguments):
                before(number)
                if not place:
                    monkeypatch.setattr(scoring, "finish_shard", lost)
                    with pytest.raises(MemoryError):
                        score(number)
                    monkeypatch.setattr(scoring, "finish_shard", record)
                yield score(number)

    write_export(tmp_path / "export", rows)
    assert main(command(tmp_path, model, "--no-ray", "--shards", "3")) == 0
    request = request_of(tmp_path, model, shards=3)
    told = []
    outcome = run.precompute(request, Replaced(), lambda text: None, shard_report=told.append)
    assert sum(event.retries for event in told) == 1
    plain, found = read_lists(tmp_path / "lists" / "home" / "1"), read_lists(outcome.folder)
    assert set(plain) == set(found)
    for user in plain:
        same(found[user], plain[user])


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


def _scoring_actors():
    return [found for found in psutil.Process().children(recursive=True) if "MapWorker" in "".join(found.cmdline())]


def _kill_amid_a_shard(work):
    """Kills all scoring actors once one has begun a shard that is not finished; returns the numbers of such shards.

    They stand still while it is looked at, so that nothing is finished between look and kill.
    """
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        actors = _scoring_actors()
        for actor in actors:
            actor.suspend()
        begun = {int(path.name) for path in work.glob("run-*/attempts/*")}
        amid = begun - {int(path.stem) for path in (work / "records").iterdir()}
        for actor in actors:
            actor.kill() if amid else actor.resume()
        if amid:
            return amid
    raise AssertionError("no actor was ever amid a shard")


@pytest.mark.faults
@rays_own_settings
def test_on_ray_the_lists_are_the_same_and_killed_actors_are_replaced(tmp_path, model, rows, on_ray):
    from tastemaker_jobs.on_ray_precompute import OnRay
    from tastemaker_jobs.precompute.run import precompute

    write_export(tmp_path / "export", rows)
    assert main(command(tmp_path, model, "--no-ray", "--shards", "60")) == 0
    folder = tmp_path / "lists" / "home" / "2"
    amid, before, told = set(), {}, []

    def written():
        return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("shard-*.parquet")}

    def kill_once(text):
        if "of 60 shards; shard-" in text and not amid:
            amid.update(_kill_amid_a_shard(folder / ".work"))
            before.update(written())
            for number in amid:  # its file may be there, without the record that counts
                before.pop(f"shard-{number:05}.parquet", None)

    request = request_of(tmp_path, model, shards=60)
    outcome = precompute(request, OnRay(workers=2, gpu=False), kill_once, shard_report=told.append)
    assert outcome.folder == folder
    assert 1 <= len(before) < 60
    after = written()
    assert {name: after[name] for name in before} == before  # what was finished was not written again
    assert sum(event.retries for event in told) >= len(amid) >= 1
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
    with pytest.raises(ClusterTooSmallError, match=r"asked for 30 workers of 1 core each.*the cluster has \d+ cores"):
        OnRay(workers=30, gpu=False)
    with pytest.raises(ClusterTooSmallError, match="a GPU each"):
        OnRay(workers=1, gpu=True)
