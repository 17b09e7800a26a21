"""Files that commands write for people and scripts."""

from pathlib import Path

from tastemaker_jobs import console
from tastemaker_jobs.errors import DataError

__all__ = ["write_output"]


def write_output(path: Path, text: str) -> None:
    """Write a file, its folder with it where that is missing, and print where it lies.

    Raises:
        DataError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}. Name another place.") from error
    console.print_path(path)
