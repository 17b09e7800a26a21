"""How a version was trained, beside it as `training.json`: which split, on exactly which events, epoch by epoch.

The manifest says what a version is, for whoever serves it; this says what only an evaluation wants to know.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tastemaker_jobs.data.ratings import Ratings
from tastemaker_jobs.data.splits import Split
from tastemaker_jobs.errors import ModelLoadError
from tastemaker_jobs.training.progress import EpochEvent

__all__ = [
    "TRAINING_RECORD",
    "Epoch",
    "TrainingRecord",
    "fingerprint",
    "read_training_record",
    "seen_fingerprint",
    "trained_fingerprint",
    "write_training_record",
]

TRAINING_RECORD = "training.json"


@dataclass(frozen=True)
class Epoch:
    """One pass over the training data."""

    epoch: int
    """From 1."""
    loss: float
    """Mean training loss."""
    valid_ndcg: float | None
    """NDCG@10 on the validation items, 0 to 1; None where there are none."""
    seconds: float
    """How long it took."""

    @classmethod
    def of(cls, event: EpochEvent) -> "Epoch":
        """What an event says. NaN becomes None, which JSON has a word for."""
        valid = None if event.valid_ndcg != event.valid_ndcg else event.valid_ndcg
        return cls(event.epoch, event.loss, valid, event.seconds)


@dataclass(frozen=True)
class TrainingRecord:
    """How a version was trained."""

    protocol: str
    """The split whose training part it was trained on."""
    train_sha256: str
    """`fingerprint` of that part."""
    epochs: tuple[Epoch, ...]
    """In order; empty for a model that is computed in one go."""
    seen_sha256: str = ""
    """`seen_fingerprint` of training and validation part together; "" for versions from before there was one."""


def fingerprint(ratings: Ratings) -> str:
    """The hex SHA-256 of rows in their order: equal for equal events, another for one that is more, less or moved."""
    digest = hashlib.sha256()
    columns = (ratings.user_id, ratings.item_id, ratings.rating.tolist(), ratings.timestamp.tolist())
    for row in zip(*columns, strict=True):
        digest.update("\0".join(map(str, row)).encode() + b"\n")
    return digest.hexdigest()


def seen_fingerprint(*parts: Ratings) -> str:
    """`fingerprint` of the rows of some parts together, whatever their order."""
    rows = Ratings.joined(*parts)
    columns = (rows.user_id, rows.item_id, rows.rating.tolist(), rows.timestamp.tolist())
    order = sorted(range(len(rows)), key=lambda row: tuple(column[row] for column in columns))
    return fingerprint(rows.take(np.array(order, dtype=np.int64)))


def write_training_record(folder: Path, *, split: Split, epochs: Iterable[Epoch]) -> None:
    """Write training.json into a version's folder.

    Args:
        folder: Of the version, before it is published.
        split: What was trained on, and what decided when to stop.
        epochs: In order.
    """
    seen = seen_fingerprint(split.train, split.valid)
    record = TrainingRecord(split.protocol, fingerprint(split.train), tuple(epochs), seen)
    (folder / TRAINING_RECORD).write_text(json.dumps(asdict(record), indent=1) + "\n")


def read_training_record(folder: Path) -> TrainingRecord | None:
    """A version's record; None for versions from before there were any.

    Raises:
        ModelLoadError: It is broken.
    """
    path = folder / TRAINING_RECORD
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
        epochs = tuple(Epoch(**epoch) for epoch in content["epochs"])
        seen = str(content.get("seen_sha256", ""))
        return TrainingRecord(str(content["protocol"]), str(content["train_sha256"]), epochs, seen)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelLoadError(f"{path} cannot be read: {error}. Train the model anew.") from error


def trained_fingerprint(folder: Path) -> str | None:
    """What a version of any kind says it was trained on: a fingerprint; None for versions from before they said it.

    Raises:
        ModelLoadError: Its record is broken.
    """
    path = folder / TRAINING_RECORD
    if not path.exists():
        return None
    try:
        return str(json.loads(path.read_text())["train_sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelLoadError(f"{path} cannot be read: {error}. Train the model anew.") from error
