"""The models folder: `models/<name>/<version>/`, as TensorFlow Serving polls it.

A version appears by one rename of a folder that is complete and on disk, so at any moment (power loss and kill -9
included) a numeric folder is a whole version. What a killed publisher leaves behind has a name that no server looks at,
and the next publisher removes it.
"""

import contextlib
import errno
import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from tastemaker_jobs.disk import sync_folder, sync_tree
from tastemaker_jobs.errors import ModelsDirError, NoVersionError

__all__ = ["Draft", "check_writable", "newest_version", "staged", "version_folder", "versions"]

_STAGING_PREFIX = ".publishing-"
_MUTEX = ".lock"


Exported = TypeVar("Exported")


class Draft:
    """A version in the making. Fill `folder`, then `publish`."""

    def __init__(self, model_dir: Path, folder: Path) -> None:
        self._model_dir = model_dir
        self.folder = folder
        """Empty at first; what it holds becomes the version."""

    def receive(self, export: Callable[[Path], Exported]) -> Exported:
        """Fill the folder with a SavedModel.

        Args:
            export: Given a folder to make, which TensorFlow insists on doing itself.

        Returns:
            What `export` does.
        """
        made = self.folder / "saved_model"
        answer = export(made)
        for part in made.iterdir():
            part.rename(self.folder / part.name)
        made.rmdir()
        return answer

    def publish(self, finish: Callable[[int], None]) -> Path:
        """Make it the newest version.

        Args:
            finish: Called with the version's number before it appears, to write what has to know it.

        Returns:
            The version's folder.

        Raises:
            ModelsDirError: The disk is full, or the like. Nothing was published then.
        """
        try:
            with _mutex(self._model_dir):
                while True:
                    number = max(versions(self._model_dir), default=0) + 1
                    finish(number)
                    sync_tree(self.folder)
                    final = self._model_dir / str(number)
                    try:
                        self.folder.rename(final)
                    except OSError as error:
                        # The mutex does not reach other machines on every network file system. A rename does not
                        # replace a folder that holds something, so the worst that can happen is that the number is
                        # taken.
                        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                            raise
                        continue
                    sync_folder(self._model_dir)
                    return final
        except OSError as error:
            raise _not_writable(self._model_dir, error) from error


@contextlib.contextmanager
def staged(model_dir: Path) -> Iterator[Draft]:
    """A draft beside the versions of a model. What is not published when the block ends, is removed.

    Args:
        model_dir: `models/<name>`; made where it is missing.

    Raises:
        ModelsDirError: It cannot be written.
    """
    with contextlib.ExitStack() as cleanup:
        try:
            model_dir.mkdir(parents=True, exist_ok=True)
            with _mutex(model_dir):  # so that nobody takes our folder for a leftover before we hold its lock
                _remove_leftovers(model_dir)
                staging = Path(tempfile.mkdtemp(prefix=_STAGING_PREFIX, dir=model_dir))
                cleanup.callback(shutil.rmtree, staging, ignore_errors=True)
                # Held until the end of the block, or of the process, however that ends.
                lock = cleanup.enter_context((staging / "lock").open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            folder = staging / "version"
            folder.mkdir()
        except OSError as error:
            raise _not_writable(model_dir, error) from error
        yield Draft(model_dir, folder)


def versions(model_dir: Path) -> list[int]:
    """The numbers of a model's versions, rising. None where the folder does not exist."""
    if not model_dir.is_dir():
        return []
    return sorted(int(entry.name) for entry in model_dir.iterdir() if entry.name.isdecimal() and entry.is_dir())


def newest_version(model_dir: Path) -> Path:
    """The folder of a model's newest version.

    Raises:
        NoVersionError: There is none.
    """
    found = versions(model_dir)
    if not found:
        raise NoVersionError(
            f"{model_dir} has no version of a model. Train one with `tastemaker-jobs train {model_dir.name}`, or name"
            " another folder with --models-dir."
        )
    return model_dir / str(found[-1])


def version_folder(name: str, *, models_dir: Path) -> Path:
    """The folder of a version that somebody named.

    Args:
        name: Of a model in `models_dir`; or, with a slash in it, the path of a model's folder or of a version's.
        models_dir: Holds `<model>/<version>/`.

    Raises:
        NoVersionError: There is none.
    """
    if "/" not in name:
        return newest_version(models_dir / name)
    path = Path(name)
    return path if path.name.isdecimal() and path.is_dir() else newest_version(path)


def check_writable(models_dir: Path) -> None:
    """Try to write there, so that an hour of training does not end at a folder that refuses it.

    Raises:
        ModelsDirError: It cannot be written.
    """
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=".writable-", dir=models_dir):
            pass
    except OSError as error:
        raise _not_writable(models_dir, error) from error


@contextlib.contextmanager
def _mutex(model_dir: Path) -> Iterator[None]:
    """One publisher at a time; the kernel lets go of it when a process dies."""
    with (model_dir / _MUTEX).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_leftovers(model_dir: Path) -> None:
    """Remove the staging folders whose publisher is dead, which is when nobody holds their lock."""
    for staging in model_dir.glob(f"{_STAGING_PREFIX}*"):
        try:
            with (staging / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(staging, ignore_errors=True)
        except BlockingIOError:
            continue  # its publisher is alive
        except OSError:  # killed before the lock was there, or another machine is just removing it
            shutil.rmtree(staging, ignore_errors=True)


def _not_writable(folder: Path, error: OSError) -> ModelsDirError:
    return ModelsDirError(
        f"the models folder {folder} cannot be written: {error.strerror or error}. Free it or use another --models-dir."
    )
