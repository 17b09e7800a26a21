"""Getting MovieLens 100K once and keeping it in the user's cache folder, checked at every use."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tastemaker_jobs.data.movielens import NAME, RATINGS_SHA256, MovieLens
from tastemaker_jobs.data.ratings import sha256_of
from tastemaker_jobs.data.sources import Source, SourceUnavailableError
from tastemaker_jobs.errors import ChecksumError, DataError, DatasetUnavailableError

__all__ = ["Dataset", "fetch_ml_100k"]


@dataclass(frozen=True)
class Dataset:
    """A data set on this machine."""

    name: str
    """For example "ml-100k"."""
    folder: Path
    """Holds ratings.csv and items.csv."""
    source: str
    """Where it came from, in words."""

    @property
    def ratings_path(self) -> Path:
        """The canonical ratings.csv."""
        return self.folder / "ratings.csv"


def fetch_ml_100k(
    *, named: Source | None, others: Sequence[Source], cache_root: Path, note: Callable[[str], None]
) -> Dataset:
    """MovieLens 100K in the cache, from the first source that has it.

    Args:
        named: The source that the user asked for. If it fails, nothing else is tried: who names a folder means it.
        others: Tried in order when none is named and the cache is empty.
        cache_root: The folder of caches.
        note: Receives one line for each step worth knowing.

    Raises:
        DatasetUnavailableError: No source could give it.
        ChecksumError: The named source holds something else.
        DataError: The cache cannot be written.
    """
    folder = cache_root / f"{NAME}-{RATINGS_SHA256[:12]}"
    if named is not None:
        try:
            return _stored(named.read(), named.name, folder)
        except SourceUnavailableError as error:
            fix = f"It must hold {NAME}/ratings.csv and {NAME}/items.csv; leave it out to download them"
            raise DatasetUnavailableError(f"{named.name} has no {NAME} ({error}). {fix}.") from error
        except ChecksumError as error:
            raise ChecksumError(f"{named.name} does not hold {NAME}: {error}. Name another folder.") from error
    if _is_good(folder):
        return Dataset(NAME, folder, (folder / "source.txt").read_text().strip())
    reasons = []
    for source in others:
        note(f"asking {source.name} for {NAME}")
        try:
            return _stored(source.read(), source.name, folder)
        except (SourceUnavailableError, ChecksumError) as error:
            note(f"not there: {error}")
            reasons.append(f"  {source.name}: {error}")
    tried = "\n".join(reasons)
    raise DatasetUnavailableError(
        f"{NAME} could not be had from anywhere. Get it by hand and name its parent folder with --data-dir.\n{tried}"
    )


def _is_good(folder: Path) -> bool:
    files = [folder / name for name in ("ratings.csv", "items.csv", "source.txt")]
    return all(file.is_file() for file in files) and sha256_of(files[0]) == RATINGS_SHA256


def _stored(data: MovieLens, source: str, folder: Path) -> Dataset:
    """Put it into the cache whole or not at all: written aside, then renamed into place."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder.parent) as aside:
            fresh = Path(aside, "new")
            fresh.mkdir()
            (fresh / "ratings.csv").write_bytes(data.ratings_csv)
            (fresh / "items.csv").write_bytes(data.items_csv)
            (fresh / "source.txt").write_text(source + "\n")
            if not _is_good(folder) and folder.exists():
                shutil.move(folder, Path(aside, "damaged"))
            try:
                fresh.rename(folder)
            except OSError:  # somebody else put the same data there meanwhile, or it was there already
                for name in ("ratings.csv", "items.csv", "source.txt"):
                    (fresh / name).replace(folder / name)
    except OSError as error:
        raise DataError(
            f"the cache folder {folder.parent} cannot be written: {error}. Free it or set XDG_CACHE_HOME."
        ) from error
    return Dataset(NAME, folder, source)
