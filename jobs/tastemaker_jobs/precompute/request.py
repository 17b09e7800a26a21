"""What is to be computed: one value that travels to every worker. What of it makes two runs the same one."""

import enum
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tastemaker_jobs.data.ratings import sha256_of
from tastemaker_jobs.errors import DataError
from tastemaker_jobs.precompute.event_files import EventFiles

__all__ = ["Audience", "Kind", "Model", "Precompute", "parse_audience"]


class Kind(enum.Enum):
    """What the lists are of."""

    USERS = "users"
    """For each user, what the model recommends."""
    SIMILAR = "similar"
    """For each item, what the model finds similar."""
    POPULAR = "popular"
    """For everyone and for each segment of users, what is popular. Without a model."""


@dataclass(frozen=True)
class Audience:
    """Which users get a list. Without both: all that have events."""

    active_days: int | None = None
    """Those with an event within so many days before the newest event."""
    file: Path | None = None
    """Those that a file names, one id per line."""


@dataclass(frozen=True)
class Model:
    """A version of a model, and what its manifest says."""

    folder: Path
    """Of the version."""
    name: str
    """As the models folder has it."""
    version: int
    """1 or more."""
    digest: str
    """Changes with the model."""


@dataclass(frozen=True)
class Precompute:
    """One run. Paths are absolute and must mean the same on every node."""

    kind: Kind
    """Of which lists."""
    name: str
    """What the lists are called: the surface, for users."""
    lists_dir: Path
    """Holds `<name>/<generation>/`."""
    k: int
    """Items in a list at most. 1 or more."""
    events: EventFiles | None = None
    """What users did; item lists do without."""
    model: Model | None = None
    """Who ranks; popular lists do without."""
    audience: Audience = Audience()
    """Which users."""
    catalogue: Path | None = None
    """A list of items: what is not in it is in no list."""
    segments: Path | None = None
    """CSV of user_id and segment, for popular lists."""
    half_life_days: float = 30.0
    """After this time a consumption counts half in popular lists. Above 0."""
    history_length: int = 50
    """So many of a user's newest events the model sees. 1 or more."""
    consuming: tuple[str, ...] = ("consume", "purchase", "rate")
    """Types of events that make an item consumed: it is in none of the user's lists, and counts as popular."""
    now_micros: int | None = None
    """What ages count from, since 1970-01-01 UTC; None: from the newest event."""
    shards: int | None = None
    """How many files; None: by the size of the data."""
    batch_size: int = 128
    """Rows that the model is asked at once, at most. 1 or more."""
    incremental: bool = False
    """Only users with events that the newest generation does not know of; the others' lists are taken from it."""
    keep: int = 3
    """So many whole generations stay in the folder, the new one among them. 1 or more."""

    @property
    def folder(self) -> Path:
        """Holds the generations."""
        return self.lists_dir / self.name

    def settings(self) -> dict[str, Any]:
        """What an incremental run must have in common with the generation that it goes on from."""
        settings: dict[str, Any] = {"kind": self.kind.value, "k": self.k}
        if self.model is not None:
            settings |= {"model": f"{self.model.name} version {self.model.version}", "model_digest": self.model.digest}
        if self.kind is Kind.USERS:
            settings |= {"history_length": self.history_length, "consuming": sorted(self.consuming)}
            settings |= {"active_days": self.audience.active_days, "users": _digest(self.audience.file)}
        if self.kind is Kind.POPULAR:
            settings |= {"half_life_days": self.half_life_days, "consuming": sorted(self.consuming)}
        return settings

    def fingerprint(self, *, shards: int, parent: int) -> str:
        """Two runs of one fingerprint compute the same lists, so that one can go on with what the other has left.

        Args:
            shards: How many files.
            parent: The generation that lists are taken from; 0 for none.
        """
        data = {
            "events": self.events.fingerprint if self.events else None,
            "catalogue": _digest(self.catalogue),
            "segments": _digest(self.segments),
            "now_micros": self.now_micros,
            "shards": shards,
            "parent": parent,
        }
        return hashlib.sha256(json.dumps([self.settings(), data], sort_keys=True).encode()).hexdigest()


def parse_audience(text: str) -> Audience:
    """What `--users` means: all, active:30d, or a file.

    Raises:
        DataError: There is no such file, or the days are no number.

    >>> parse_audience("active:30d").active_days
    30
    """
    if text == "all":
        return Audience()
    if text.startswith("active:"):
        found = re.fullmatch(r"active:([1-9][0-9]{0,4})d", text)
        if not found:
            raise DataError(f"--users {text}: give a number of days, such as active:30d.")
        return Audience(active_days=int(found[1]))
    path = Path(text).absolute()
    if not path.is_file():
        raise DataError(f"--users {text}: there is no such file. Give all, active:30d, or a file of one id per line.")
    return Audience(file=path)


def _digest(path: Path | None) -> str | None:
    return sha256_of(path) if path else None
