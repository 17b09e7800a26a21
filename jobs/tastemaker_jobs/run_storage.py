"""Where a run with workers keeps what outlives them: a folder or a bucket, that belongs to one run by its id."""

import json
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from tastemaker_jobs.errors import DataError

__all__ = ["check_storage", "claim", "tidy"]

_RUN = "run.json"


def check_storage(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of a URI or a path, and the path on it. Written to, to see that it can be.

    Raises:
        DataError: It cannot be written.
    """
    try:
        storage, root = fs.FileSystem.from_uri(uri if "://" in uri else str(Path(uri).absolute()))
        storage.create_dir(root, recursive=True)
        probe = f"{root}/.tastemaker-probe"
        with storage.open_output_stream(probe) as stream:
            stream.write(b"probe")
        storage.delete_file(probe)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(
            f"--storage {uri} cannot be written: {error}. Name a folder or an s3:// or gs:// URI."
        ) from error
    return storage, root


def claim(storage: fs.FileSystem, folder: str, fingerprint: str) -> None:
    """A run's id belongs to one question: data, model, settings, seed and number of workers.

    Args:
        storage: That the run keeps its files on.
        folder: Of the run, on it.
        fingerprint: Of the question.

    Raises:
        DataError: The folder is of another one.
    """
    path = f"{folder}/{_RUN}"
    if storage.get_file_info(path).type == fs.FileType.File:
        with storage.open_input_stream(path) as stream:
            if json.loads(stream.read())["fingerprint"] == fingerprint:
                return
        raise DataError(
            f"{folder} is of another run: other data, settings, seed or number of workers. Give another --run-id."
        )
    storage.create_dir(folder, recursive=True)
    with storage.open_output_stream(path) as stream:
        stream.write(json.dumps({"fingerprint": fingerprint}).encode())


def tidy(storage: fs.FileSystem, folder: str, kept: set[str]) -> None:
    """Delete the checkpoints that a killed worker or driver had written, and Ray had not taken note of.

    Args:
        storage: That the run keeps its files on.
        folder: Of the run, on it.
        kept: Names of the checkpoints that stay.
    """
    folders = [found for found in storage.get_file_info(fs.FileSelector(folder)) if found.type == fs.FileType.Directory]
    for found in folders:
        if found.base_name.startswith("checkpoint_") and found.base_name not in kept:
            storage.delete_dir(found.path)
