"""The event log as Parquet files, in the order of the log, with flat memory.

    FOLDER/events-00000000000000000001.parquet   named by the first position in it
    FOLDER/export.json                           written last: without it the export is not whole

Columns: user_id, item_id, event_type (`CONSUME`, `RATE`…), rating (float32, null without one), event_time_micros (since
1970-01-01 UTC), position. A file appears by a rename, so that what can be seen under its name is whole.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tastemaker.v1 import feedback_service_pb2
from tastemaker_server.errors import CommandError, SettingsError
from tastemaker_server.event_log import EventLog, LoggedEvent

__all__ = ["Export", "ExportedFile", "export_events"]

_PAGE_EVENTS = 20_000
_EVENTS_PER_FILE = 1_000_000
_FORMAT_VERSION = 1
_MANIFEST = "export.json"


@dataclass(frozen=True)
class ExportedFile:
    """One Parquet file."""

    name: str
    """Its name in the folder."""
    count: int
    """How many events it has."""
    sha256: str
    """Of its bytes, in hexadecimal."""


@dataclass(frozen=True)
class Export:
    """What `export.json` says."""

    after: int
    """The position from which the export goes on."""
    first_position: int | None
    """Of its first event; None where there is none."""
    last_position: int
    """Of its last event, else `after`: what the next export goes on from."""
    count: int
    """How many events it has."""
    files: list[ExportedFile]
    """In the order of the log."""
    format_version: int = _FORMAT_VERSION
    """Of this layout."""


async def export_events(
    event_log: EventLog,
    folder: Path,
    *,
    after: int = 0,
    replace: bool = False,
    events_per_file: int = _EVENTS_PER_FILE,
) -> Export:
    """Writes the events above `after` that the log has now.

    Args:
        event_log: What is exported; may be written to meanwhile.
        folder: Made where it is missing. What an export that was cut off left there is removed.
        after: A position; 0 for the whole log.
        replace: Remove the export that the folder has, in place of refusing it.
        events_per_file: The most events of a file.

    Raises:
        StoreUnavailableError: The log cannot be read now.
        SettingsError: The folder has an export, or other things, or pyarrow is not installed.
        CommandError: The files cannot be written.
    """
    until = await event_log.last_position()
    files: list[ExportedFile] = []
    first: int | None = None
    last = after
    try:
        _prepare(folder, replace=replace)
        while last < until:
            page = await event_log.read(last, min(_PAGE_EVENTS, events_per_file))
            if not page:
                break
            with _EventFile(folder, page[0].position) as file:
                while page and page[0].position <= until:
                    file.write([logged for logged in page if logged.position <= until])
                    first = page[0].position if first is None else first
                    last = min(page[-1].position, until)
                    room = events_per_file - file.count
                    page = await event_log.read(last, min(_PAGE_EVENTS, room)) if room and last < until else []
                if not file.count:  # all that was read came in since
                    break
                files.append(file.finish())
        export = Export(after, first, last, sum(file.count for file in files), files)
        _write_whole(folder / _MANIFEST, (json.dumps(asdict(export), indent=2) + "\n").encode())
    except OSError as error:
        raise CommandError(f"--out: {folder}: {error.strerror or error}; make room or name another folder") from error
    return export


class _EventFile:
    """A Parquet file that is being written; it appears with `finish`, or not at all."""

    def __init__(self, folder: Path, first_position: int) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self._schema = pa.schema(
            [
                pa.field("user_id", pa.string(), nullable=False),
                pa.field("item_id", pa.string(), nullable=False),
                pa.field("event_type", pa.dictionary(pa.int8(), pa.string()), nullable=False),
                pa.field("rating", pa.float32()),
                pa.field("event_time_micros", pa.int64(), nullable=False),
                pa.field("position", pa.int64(), nullable=False),
            ]
        )
        self._make_batch = pa.RecordBatch.from_pydict
        self._path = folder / f"events-{first_position:020d}.parquet"
        self._partial = self._path.with_suffix(".partial")
        self._writer = parquet.ParquetWriter(self._partial, self._schema, compression="zstd")
        self.count = 0

    def __enter__(self) -> "_EventFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        self._partial.unlink(missing_ok=True)

    def write(self, page: Sequence[LoggedEvent]) -> None:
        events = [logged.event for logged in page]
        columns: dict[str, list[Any]] = {
            "user_id": [event.user_id for event in events],
            "item_id": [event.item_id for event in events],
            "event_type": [_type_name(event.event_type) for event in events],
            "rating": [event.rating if event.HasField("rating") else None for event in events],
            "event_time_micros": [logged.event_time_micros for logged in page],
            "position": [logged.position for logged in page],
        }
        self._writer.write_batch(self._make_batch(columns, schema=self._schema))
        self.count += len(page)

    def finish(self) -> ExportedFile:
        self._writer.close()
        with self._partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        self._partial.replace(self._path)
        return ExportedFile(self._path.name, self.count, digest)


def _type_name(number: int) -> str:
    return feedback_service_pb2.EventType.Name(number).removeprefix("EVENT_TYPE_")


def _prepare(folder: Path, *, replace: bool) -> None:
    try:
        import pyarrow  # noqa: F401  # asked for before anything is written
    except ModuleNotFoundError as error:
        raise SettingsError(["export-events needs the package pyarrow; pip install 'tastemaker[parquet]'"]) from error
    folder.mkdir(parents=True, exist_ok=True)
    if replace:  # first what makes the others an export: cut off after it, they are left-overs
        (folder / _MANIFEST).unlink(missing_ok=True)
    found = sorted(folder.iterdir())
    left_over = [path for path in found if path.name.startswith("events-") and path.suffix in {".parquet", ".partial"}]
    if (folder / _MANIFEST).exists():
        raise SettingsError([f"--out: {folder} has an export already; name a new folder, or give --replace"])
    other = [path.name for path in found if path not in left_over and path.name != f"{_MANIFEST}.partial"]
    if other:
        raise SettingsError([f"--out: {folder} has other things in it ({other[0]}); name a new or empty folder"])
    for path in found:
        path.unlink()


def _write_whole(path: Path, data: bytes) -> None:
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
