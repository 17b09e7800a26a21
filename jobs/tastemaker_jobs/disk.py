"""What must be on the disk before it is said to be there."""

import os
from pathlib import Path

__all__ = ["sync_folder", "sync_tree"]


def sync_tree(folder: Path) -> None:
    """Everything in a folder on disk, so that the rename cannot be there after a power loss without the contents."""
    for parent, _, files in os.walk(folder):
        for name in files:
            with Path(parent, name).open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(parent))


def sync_folder(folder: Path) -> None:
    """The names in a folder on disk, so that a rename is still there after a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
