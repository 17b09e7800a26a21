"""`tastemaker-jobs fetch`: get a data set. Also how `train` and `evaluate` come by theirs."""

from dataclasses import dataclass
from pathlib import Path

from tastemaker_jobs import console, environment
from tastemaker_jobs.data.fetching import Dataset, fetch_ml_100k
from tastemaker_jobs.data.sources import FolderSource, GroupLensSource, RecBoleWheelSource, Source

__all__ = ["RatingsFile", "fetch", "obtain", "ratings_file"]


@dataclass(frozen=True)
class RatingsFile:
    """A ratings file and what its data is called."""

    path: Path
    """The file."""
    dataset: str
    """The name for manifests."""
    items: Path | None = None
    """A CSV file with item_id and title, if one belongs to it."""
    images: Path | None = None
    """A folder of <item_id>.jpg, if one belongs to it."""


def fetch(*, data_dir: Path | None) -> None:
    """Get MovieLens 100K and print the folder it lies in."""
    data = obtain(data_dir=data_dir)
    console.note(f"{data.name}: 100,000 ratings, checksum verified, from {data.source}; it lies in")
    console.print_path(data.folder)


def obtain(*, data_dir: Path | None) -> Dataset:
    """MovieLens 100K from the folder named here or in the environment, else the cache, else wherever it can be had."""
    from_environment, default = environment.data_dir()
    named = data_dir or from_environment
    others: list[Source] = [FolderSource(default)] if default else []
    others += [GroupLensSource(), RecBoleWheelSource()]
    return fetch_ml_100k(
        named=FolderSource(named) if named else None,
        others=others,
        cache_root=environment.cache_root(),
        note=console.note,
    )


def ratings_file(*, ratings: Path | None, data_dir: Path | None) -> RatingsFile:
    """The ratings to work on: a file of the user's, else MovieLens 100K."""
    if ratings is not None:
        return RatingsFile(ratings.resolve(), ratings.stem)
    data = obtain(data_dir=data_dir)
    # Posters are never downloaded: they are there where a folder of data has them.
    folders = (data_dir, *environment.data_dir())
    images = (folder / data.name / "images" for folder in folders if folder)
    found = next((folder for folder in images if folder.is_dir()), None)
    return RatingsFile(data.ratings_path, data.name, data.folder / "items.csv", found)
