"""What data files contain, so that work that goes on can tell whether it is about the same data."""

import hashlib
from pathlib import Path

from tastemaker_jobs.data.data_files import DataFiles
from tastemaker_jobs.data.exported_events import EXPORT
from tastemaker_jobs.data.ratings import sha256_of
from tastemaker_jobs.errors import DataError

__all__ = ["contents_of"]


def contents_of(files: DataFiles) -> dict[str, str | None]:
    """Part to the digest of its bytes, None where it is not given; and how they are split. Of paths it knows nothing.

    Raises:
        DataError: A file cannot be read.
    """
    try:
        digests = {part: _digest(getattr(files, part)) for part in ("ratings", "valid", "items", "images")}
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror or error}.") from error
    return {"protocol": files.protocol, **digests}


def _digest(path: Path | None) -> str | None:
    if path is None:
        return None
    if path.is_file() or (path / EXPORT).exists():
        return sha256_of(path)
    # Of a folder of images names and sizes: there may be more of them than one wants to read only to compare.
    lines = sorted(f"{image.name} {image.stat().st_size}" for image in path.iterdir())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
