"""Files that are there whole or not at all, whatever is killed: written aside, synced to disk, renamed."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tastemaker_jobs.disk import sync_folder
from tastemaker_jobs.errors import ListsError

__all__ = ["whole_file", "write_text"]


@contextlib.contextmanager
def whole_file(path: Path, *, aside: Path) -> Iterator[BinaryIO]:
    """A file to write to, which gets its name when the block ends well.

    Args:
        path: Its name then. One that is there already is replaced.
        aside: A folder on the same file system, in which it lies meanwhile; made if it is missing, but not the folder
            that it lies in: a run whose folder has been taken away writes nothing more.

    Raises:
        ListsError: The disk is full, or the like. Nothing is left then.
    """
    draft = aside / f"{path.name}.{secrets.token_hex(4)}"
    try:
        aside.mkdir(exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise ListsError(
            f"{path} cannot be written: {error.strerror or error}. What was finished before is kept: free the disk, or"
            " make the folder writable, and give the same command again."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, aside: Path) -> None:
    """Write a small file in one step. See `whole_file`."""
    with whole_file(path, aside=aside) as file:
        file.write(text.encode())
