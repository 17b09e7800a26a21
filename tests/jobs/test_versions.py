"""Publishing: whole or not at all, whoever is killed when, however many publish at once."""

import concurrent.futures
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tastemaker_jobs.errors import ModelsDirError, NoVersionError
from tastemaker_jobs.publishing.versions import check_writable, newest_version, staged, versions

FILES = 40
# Publishes without end; each version has FILES files and a last one that says so.
PUBLISHER = f"""
import sys
from pathlib import Path
from tastemaker_jobs.publishing.versions import staged
while True:
    with staged(Path(sys.argv[1])) as draft:
        for number in range({FILES}):
            (draft.folder / f"part-{{number}}").write_bytes(b"x" * 10_000)
        draft.publish(lambda number: (draft.folder / "number").write_text(str(number)) and None)
    print("published", flush=True)
"""


def publish(model_dir: Path, content: str = "x") -> Path:
    with staged(model_dir) as draft:
        (draft.folder / "content").write_text(content)
        return draft.publish(lambda number: (draft.folder / "number").write_text(str(number)) and None)


def leftovers(model_dir: Path) -> list[Path]:
    return list(model_dir.glob(".publishing-*"))


def test_versions_count_up_and_gaps_stay(tmp_path):
    assert publish(tmp_path / "rnn").name == "1"
    (tmp_path / "rnn" / "41").mkdir()
    (tmp_path / "rnn" / "notes").mkdir()
    (tmp_path / "rnn" / "99").write_text("a file is no version")
    assert publish(tmp_path / "rnn").name == "42"
    assert versions(tmp_path / "rnn") == [1, 41, 42]
    assert newest_version(tmp_path / "rnn").name == "42"
    assert not leftovers(tmp_path / "rnn")


def test_failed_block_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError), staged(tmp_path / "rnn") as draft:
        (draft.folder / "folder that is not there" / "content").write_text("half")
    assert versions(tmp_path / "rnn") == []
    assert not leftovers(tmp_path / "rnn")


def test_failed_finish_publishes_nothing(tmp_path):
    def fails(number: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(ModelsDirError, match="No space left"), staged(tmp_path / "rnn") as draft:
        draft.publish(fails)
    assert versions(tmp_path / "rnn") == []


def test_publishers_at_once_never_clobber_each_other(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda number: publish(tmp_path / "rnn", str(number)), range(24)))
    assert sorted(int(folder.name) for folder in folders) == list(range(1, 25))
    for number, folder in enumerate(folders):
        assert (folder / "content").read_text() == str(number)
        assert (folder / "number").read_text() == folder.name


def test_number_taken_by_another_machine_is_not_overwritten(tmp_path):
    model_dir = tmp_path / "rnn"

    def finish(number: int) -> None:
        if not (model_dir / "1").exists():  # as if our lock did not reach the other one
            (model_dir / "1").mkdir()
            (model_dir / "1" / "content").write_text("theirs")

    with staged(model_dir) as draft:
        (draft.folder / "content").write_text("ours")
        assert draft.publish(finish).name == "2"
    assert (model_dir / "1" / "content").read_text() == "theirs"


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    model_dir = tmp_path / "rnn"
    dead = model_dir / ".publishing-dead"
    (dead / "version").mkdir(parents=True)
    (dead / "lock").touch()
    with staged(model_dir) as living:
        (living.folder / "content").write_text("still at it")
        publish(model_dir)
        assert not dead.exists()
        assert (living.folder / "content").read_text() == "still at it"
        assert living.publish(lambda _: None).name == "2"


@pytest.mark.slow
def test_kill_at_any_moment_leaves_only_whole_versions(tmp_path, processes):
    model_dir = tmp_path / "rnn"
    killed_half_way = 0
    for attempt in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, str(model_dir)], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        processes.append(process)
        assert process.stdout
        assert process.stdout.readline() == "published\n"
        time.sleep(0.003 * attempt)  # the moment of the kill is the point here, so each attempt has another one
        process.send_signal(signal.SIGKILL)
        process.wait()
        for number in versions(model_dir):
            assert len(list((model_dir / str(number)).iterdir())) == FILES + 1
            assert (model_dir / str(number) / "number").read_text() == str(number)
        killed_half_way += bool(leftovers(model_dir))
    assert killed_half_way, "no kill hit a publisher at work; the test shows nothing"
    publish(model_dir)
    assert not leftovers(model_dir)


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for attempt in (check_writable, publish):
        with pytest.raises(ModelsDirError, match=r"models folder .*file.* cannot be written"):
            attempt(tmp_path / "file" / "rnn")


def test_no_version_says_how_to_get_one(tmp_path):
    with pytest.raises(NoVersionError, match="tastemaker-jobs train rnn"):
        newest_version(tmp_path / "rnn")
