"""Images with a label each, from a Parquet file. Owns the format of such a file and what can be wrong with one."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tastemaker_jobs.data.data_files import DataFiles
from tastemaker_jobs.data.folds import stratified_folds
from tastemaker_jobs.errors import DataError, ImagesFormatError, RowProblem, TooFewRatingsError

__all__ = [
    "LabelledImages",
    "broken_images",
    "hold_out",
    "images_fingerprint",
    "read_labelled_images",
    "read_parts",
]

_MAX_PROBLEMS = 20
_COLUMNS = {"id": "a text or whole number", "image": "bytes of a JPEG or PNG file", "label": "a text or whole number"}
_FOLDS = 10


@dataclass(frozen=True)
class LabelledImages:
    """N images."""

    path: Path
    """Where they were read."""
    ids: tuple[str, ...]
    """[N]."""
    images: tuple[bytes, ...]
    """[N], as in the file, not yet decoded."""
    labels: tuple[str, ...]
    """[N]; numbers as text."""
    rows: tuple[int, ...]
    """[N], in the file, from 1: so that a message can name it."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: npt.NDArray[np.int64]) -> "LabelledImages":
        """Those at these places, in that order.

        Args:
            rows: [M].
        """
        columns = (self.ids, self.images, self.labels, self.rows)
        return LabelledImages(self.path, *(tuple(column[row] for row in rows) for column in columns))


def read_labelled_images(path: Path) -> LabelledImages:
    """Read a Parquet file with the columns id, image (bytes) and label; other columns are ignored.

    Raises:
        ImagesFormatError: The file breaks the format; lists the first 20 places.
        DataError: The file cannot be opened.
    """
    problems: list[RowProblem] = []
    try:
        names = pq.read_schema(path).names
        for name, expected in _COLUMNS.items():
            if names.count(name) != 1:
                found = f"{names.count(name) or 'no'} such column in {','.join(names)[:60]!r}"
                problems.append(RowProblem(0, f"column {name}", found, f"one, with {expected}"))
        if problems:
            raise ImagesFormatError(path, problems)
        table = pq.read_table(path, columns=list(_COLUMNS))
    except pa.ArrowInvalid as error:
        raise ImagesFormatError(
            path, [RowProblem(0, "whole file", str(error).splitlines()[0][:80], "a Parquet file")]
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}. Check the path.") from error
    columns = {name: table[name].to_pylist() for name in _COLUMNS}
    for name, values in columns.items():
        for row, value in enumerate(values, start=1):
            if not _fits(name, value):
                shown = "nothing" if value is None or value in ("", b"") else repr(value)[:60]
                problems.append(RowProblem(row, f"column {name}", shown, _COLUMNS[name]))
                if len(problems) >= _MAX_PROBLEMS:
                    raise ImagesFormatError(path, problems, more=True)
    if not len(table) and not problems:
        problems.append(RowProblem(1, "whole row", "the end of the file", "at least one image"))
    if problems:
        raise ImagesFormatError(path, problems)
    ids, labels = (tuple(map(str, columns[name])) for name in ("id", "label"))
    return LabelledImages(path, ids, tuple(columns["image"]), labels, tuple(range(1, len(table) + 1)))


def _fits(name: str, value: Any) -> bool:
    if name == "image":
        return isinstance(value, bytes) and bool(value)
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, str) and bool(value))


def broken_images(data: LabelledImages, present: npt.NDArray[np.bool_]) -> ImagesFormatError | None:
    """The error for images that could not be decoded; None where all could.

    Args:
        data: N images.
        present: [N], whether each could be decoded.
    """
    broken = np.flatnonzero(~present)
    if not len(broken):
        return None
    problems = [
        RowProblem(
            data.rows[place],
            f"column image of id {data.ids[place]!r}",
            f"{len(data.images[place])} bytes that cannot be decoded",
            "a whole JPEG or PNG file",
        )
        for place in broken[:_MAX_PROBLEMS]
    ]
    return ImagesFormatError(data.path, problems, more=len(broken) > _MAX_PROBLEMS)


def read_parts(files: DataFiles) -> tuple[LabelledImages, LabelledImages]:
    """What is trained on, and what decides which epoch is the best: a file of its own or a tenth, held out.

    Raises:
        DataError: A file cannot be read, breaks its format, or does not go with the other.
    """
    if files.protocol is not None:
        raise DataError("An image classifier learns from labelled images. Give a Parquet file of them with --train.")
    train = read_labelled_images(files.ratings)
    if files.valid is None:
        train, valid = hold_out(train)
    else:
        valid = read_labelled_images(files.valid)
        if twice := sorted(set(train.ids) & set(valid.ids)):
            raise DataError(f"{files.valid} and {files.ratings} share {len(twice)} ids, such as {twice[0]!r}.")
        if new := sorted(set(valid.labels) - set(train.labels)):
            raise DataError(f"{files.valid} has labels that {files.ratings} lacks: {', '.join(map(repr, new[:5]))}.")
    if len(set(train.labels)) < 2:
        raise TooFewRatingsError(f"{files.ratings} has one label only. A classifier needs two or more.")
    return train, valid


def hold_out(data: LabelledImages) -> tuple[LabelledImages, LabelledImages]:
    """A tenth for validation, each class alike, by the hash of the id: it stays when rows come, go or move.

    Returns:
        What is left to train on, and the tenth.

    Raises:
        TooFewRatingsError: There are too few images.
    """
    classes = {label: number for number, label in enumerate(sorted(set(data.labels)))}
    if len(set(data.ids)) < _FOLDS:
        raise TooFewRatingsError(f"{data.path} has {len(data)} images; to hold out a tenth, give {_FOLDS} or more.")
    numbers = [classes[label] for label in data.labels]
    train, valid = next(stratified_folds(data.ids, numbers, folds=_FOLDS))
    return data.take(train), data.take(valid)


def images_fingerprint(data: LabelledImages) -> str:
    """The hex SHA-256 of ids, labels and bytes in their order."""
    digest = hashlib.sha256()
    for name, label, image in zip(data.ids, data.labels, data.images, strict=True):
        digest.update(f"{name}\0{label}\0{len(image)}\0".encode() + image)
    return digest.hexdigest()
