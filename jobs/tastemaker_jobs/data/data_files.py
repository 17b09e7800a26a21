"""Which files a training or an evaluation is about. Paths only; others read them."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["DataFiles"]


@dataclass(frozen=True)
class DataFiles:
    """Small, so that it travels to a worker; the paths must mean the same there.

    Either one file of ratings that a protocol splits, or the parts of a split in files of their own.
    """

    ratings: Path
    """The ratings that are split; or, without a protocol, those that are trained on."""
    dataset: str
    """What the data is called."""
    protocol: str | None = "leave-last-out"
    """A name of `PROTOCOLS` by which `ratings` are split; None: the parts are files of their own."""
    valid: Path | None = None
    """Ratings that decide when training stops. Without a protocol alone."""
    items: Path | None = None
    """A list of items: CSV with item_id and, as you like, title and attributes."""
    images: Path | None = None
    """A folder of <item_id>.jpg."""
