"""A run that has been decided: what every worker is told, and where in the generation's folder things lie."""

from dataclasses import dataclass
from pathlib import Path

from tastemaker_jobs.precompute.generations import Generation
from tastemaker_jobs.precompute.request import Precompute

__all__ = ["Parent", "Plan", "shard_name"]


@dataclass(frozen=True)
class Parent:
    """The generation that unchanged lists are taken from."""

    folder: Path
    """Of it; shard for shard as this one."""
    position: int
    """In the event log: what comes later it does not know."""


@dataclass(frozen=True)
class Plan:
    """Small, and pickleable."""

    request: Precompute
    """What is wanted."""
    generation: Generation
    """Where it goes."""
    shards: int
    """How many files, and buckets."""
    parent: Parent | None = None
    """Of an incremental run."""
    active_since_micros: int | None = None
    """Users without an event since then get no list."""
    now_micros: int = 0
    """What ages count from, microseconds since 1970-01-01 UTC."""

    @property
    def events(self) -> Path:
        """Events, dealt by user."""
        return self.generation.work / "events"

    @property
    def keys(self) -> Path:
        """Users or items that were named, dealt; not there where all are asked."""
        return self.generation.work / "keys"

    @property
    def segments(self) -> Path:
        """Users' segments, dealt by user."""
        return self.generation.work / "segments"

    @property
    def departed(self) -> Path:
        """Items that the model knows and the catalogue has no more, one per line; not there without a catalogue."""
        return self.generation.work / "departed.txt"

    @property
    def catalogue(self) -> Path:
        """For popular lists: a JSON array of the items that may be listed; not there without a catalogue."""
        return self.generation.work / "catalogue.json"

    def questions(self, number: int) -> Path:
        """What a shard's users or items are asked with, as an Arrow file; see `questions`."""
        return self.generation.run / "questions" / f"{number:05}.arrow"

    def record(self, number: int) -> Path:
        """Written once a shard is finished."""
        return self.generation.work / "records" / f"{number:05}.json"

    def attempts(self, number: int) -> Path:
        """As many bytes as this run has begun the shard."""
        return self.generation.run / "attempts" / f"{number:05}"

    def shard(self, number: int) -> Path:
        """The shard itself."""
        return self.generation.folder / shard_name(number)


def shard_name(number: int) -> str:
    """A shard's file name.

    >>> shard_name(3)
    'shard-00003.parquet'
    """
    return f"shard-{number:05}.parquet"
