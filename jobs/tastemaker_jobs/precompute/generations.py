"""The lists folder: `lists/<name>/<generation>/`. Which generations are whole, which run may write, what it leaves.

A generation is whole once it has a manifest. Until then its folder has `.work/` beside the shards, with what a run of
the same fingerprint needs to go on: what was dealt and read, and a record of each finished shard.
"""

import contextlib
import fcntl
import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from tastemaker.artefacts.v1 import lists_pb2
from tastemaker_jobs.errors import ListsError
from tastemaker_jobs.precompute.whole_files import write_text

__all__ = [
    "CONTRACT_VERSION",
    "Generation",
    "claim",
    "newest_whole",
    "only_run",
    "publish",
    "read_manifest",
    "remove_older",
    "settings_of",
]

CONTRACT_VERSION = 1
"""Of lists; see lists.proto."""

_MANIFEST, _RUN, _WORK = "manifest.json", "precompute.json", ".work"


@dataclass(frozen=True)
class Generation:
    """A generation in the making."""

    folder: Path
    """Holds its shards."""
    is_resumed: bool = False
    """Whether another run has begun it."""
    token: str = field(default_factory=lambda: secrets.token_hex(4))
    """Of the run that writes it now."""

    @property
    def number(self) -> int:
        """1 or more."""
        return int(self.folder.name)

    @property
    def work(self) -> Path:
        """Holds what is thrown away at the end."""
        return self.folder / _WORK

    @property
    def run(self) -> Path:
        """What belongs to this run alone. Once it is gone the run's workers can finish nothing more; see `claim`."""
        return self.work / f"run-{self.token}"

    @property
    def drafts(self) -> Path:
        """Files that are not whole."""
        return self.run / "drafts"


@contextlib.contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """While the block runs, no other run writes generations of that name. The kernel lets go when a process dies.

    Args:
        folder: Of the name; made if it is missing.

    Raises:
        ListsError: Another one does, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise ListsError(
            f"the lists folder {folder} cannot be written: {error.strerror or error}. Free it, or use another"
            " --lists-dir."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ListsError(
                f"another precompute is writing {folder}. Wait for it, or use another --surface or --lists-dir."
            ) from None
        yield


def newest_whole(folder: Path) -> Path | None:
    """The folder of the newest generation that has a manifest."""
    whole = [number for number in _numbers(folder) if (folder / str(number) / _MANIFEST).is_file()]
    return folder / str(whole[-1]) if whole else None


def claim(folder: Path, *, fingerprint: str, settings: Mapping[str, Any]) -> tuple[Generation, list[int]]:
    """The generation to write: one that a run of this fingerprint has begun, else a new one.

    Workers may outlive the driver of the run before. Whatever they write gets its name from that run's drafts, and
    these are taken away here, in one step: from now on nothing of theirs can take the place of this run's files.

    Args:
        folder: Of the name.
        fingerprint: Of the run.
        settings: Kept beside it, for incremental runs to compare.

    Returns:
        The generation; and the numbers of generations that other runs have begun and not finished.

    Raises:
        ListsError: The folder cannot be written.
    """
    numbers = _numbers(folder)
    whole = newest_whole(folder)
    unfinished = [number for number in numbers if number > (int(whole.name) if whole else 0)]
    for number in reversed(unfinished):
        generation = Generation(folder / str(number), is_resumed=True)
        run = _run_of(generation.folder)
        if run is not None and run["fingerprint"] == fingerprint:
            _take_over(generation)
            return generation, [other for other in unfinished if other != number]
    generation = Generation(folder / str(max(numbers, default=0) + 1))
    _take_over(generation)
    run = {"fingerprint": fingerprint, "settings": dict(settings)}
    write_text(generation.folder / _RUN, json.dumps(run, indent=1) + "\n", aside=generation.drafts)
    return generation, unfinished


def settings_of(folder: Path) -> Mapping[str, Any]:
    """What a generation was computed with.

    Raises:
        ListsError: It does not say.
    """
    run = _run_of(folder)
    if run is None:
        raise ListsError(f"{folder / _RUN} cannot be read, so nothing can be added to it. Run without --incremental.")
    found: Mapping[str, Any] = run["settings"]
    return found


def publish(generation: Generation, manifest: lists_pb2.ListsManifest) -> None:
    """Make the generation whole. What was needed to get there is removed.

    Raises:
        ListsError: The manifest cannot be written.
    """
    text = json_format.MessageToJson(manifest, preserving_proto_field_name=True) + "\n"
    write_text(generation.folder / _MANIFEST, text, aside=generation.drafts)
    shutil.rmtree(generation.work, ignore_errors=True)


def remove_older(folder: Path, *, keep: int) -> list[int]:
    """Remove generations that came before the newest whole ones, finished or not.

    Args:
        folder: Of the name; no other run may write it.
        keep: How many whole ones stay. 1 or more.

    Returns:
        Their numbers.

    Raises:
        ListsError: One cannot be removed.
    """
    whole = [number for number in _numbers(folder) if (folder / str(number) / _MANIFEST).is_file()]
    removed = [number for number in _numbers(folder) if len(whole) > keep and number < whole[-keep]]
    for number in removed:
        try:
            (folder / str(number) / _MANIFEST).unlink(missing_ok=True)  # first: what is cut off here is not whole
            shutil.rmtree(folder / str(number))
        except OSError as error:
            raise ListsError(
                f"{folder / str(number)} cannot be removed: {error.strerror or error}. The new generation is whole;"
                " remove the old one by hand."
            ) from error
    return removed


def read_manifest(folder: Path) -> lists_pb2.ListsManifest:
    """The manifest of a whole generation.

    Raises:
        ListsError: It cannot be read, or is of another version of the contract.
    """
    path = folder / _MANIFEST
    try:
        manifest = json_format.Parse(path.read_text(), lists_pb2.ListsManifest(), ignore_unknown_fields=True)
    except (OSError, ValueError, json_format.ParseError) as error:
        raise ListsError(f"{path} cannot be read: {error}. Run without --incremental.") from error
    if manifest.contract_version != CONTRACT_VERSION:
        raise ListsError(
            f"{path} is of version {manifest.contract_version} of the contract of lists, and this code knows"
            f" {CONTRACT_VERSION}. Run without --incremental."
        )
    return manifest


def _take_over(generation: Generation) -> None:
    try:
        generation.work.mkdir(parents=True, exist_ok=True)
        for left in generation.work.glob("run-*"):
            left.rename(left.with_name(f"gone-{secrets.token_hex(4)}"))
        for gone in generation.work.glob("gone-*"):
            shutil.rmtree(gone, ignore_errors=True)
        generation.run.mkdir()
    except OSError as error:
        raise ListsError(
            f"{generation.work} cannot be written: {error.strerror or error}. Free the disk, or make the folder"
            " writable, and give the same command again."
        ) from error


def _numbers(folder: Path) -> list[int]:
    return sorted(int(found.name) for found in folder.iterdir() if found.name.isdecimal() and found.is_dir())


def _run_of(folder: Path) -> Mapping[str, Any] | None:
    try:
        run = json.loads((folder / _RUN).read_text())
    except (OSError, ValueError):
        return None
    return run if isinstance(run, dict) and {"fingerprint", "settings"} <= run.keys() else None
