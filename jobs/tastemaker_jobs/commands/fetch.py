"""`tastemaker-jobs fetch`: get a data set. Also how `train` and `evaluate` come by theirs."""

from pathlib import Path

from tastemaker_jobs import console, environment
from tastemaker_jobs.data.data_files import DataFiles
from tastemaker_jobs.data.fetching import Dataset, fetch_ml_100k
from tastemaker_jobs.data.sources import FolderSource, GroupLensSource, RecBoleWheelSource, Source

__all__ = ["data_files", "fetch", "obtain"]


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


def data_files(
    *,
    ratings: Path | None,
    train: Path | None = None,
    valid: Path | None = None,
    data_dir: Path | None,
    protocol: str,
    items: Path | None,
    images: Path | None,
) -> DataFiles:
    """The files to work on: those that the user names, else MovieLens 100K.

    Args:
        ratings: To be split by the protocol.
        train: To be trained on whole, in place of `ratings`.
        valid: Beside `train`: decides when training stops.
        data_dir: Where MovieLens 100K may lie.
        protocol: How `ratings`, or MovieLens, is split.
        items: A list of items; MovieLens has its own.
        images: A folder of their images; MovieLens has its own where a data folder has them.
    """
    items, images = (path.resolve() if path else None for path in (items, images))
    if train is not None:
        return DataFiles(
            train.resolve(), train.stem, None, valid.resolve() if valid else None, items=items, images=images
        )
    if ratings is not None:
        return DataFiles(ratings.resolve(), ratings.stem, protocol, items=items, images=images)
    data = obtain(data_dir=data_dir)
    # Posters are never downloaded: they are there where a folder of data has them.
    folders = (data_dir, *environment.data_dir())
    posters = (folder / data.name / "images" for folder in folders if folder)
    found = next((folder for folder in posters if folder.is_dir()), None)
    return DataFiles(
        data.ratings_path, data.name, protocol, items=items or data.folder / "items.csv", images=images or found
    )
