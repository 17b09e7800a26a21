"""Which version to load or unload next, as a pure function: TensorFlow Serving's availability-preserving policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

__all__ = ["Action", "Load", "Phase", "Snapshot", "Unload", "next_action"]


class Phase(Enum):
    """Where a managed version stands, seen by the policy."""

    NEW = "new"
    """Known, and nobody has asked to load it yet."""
    BUSY = "busy"
    """Loading or unloading: nothing to decide."""
    READY = "ready"
    """Serves."""
    FAILED = "failed"
    """Loading was given up."""


@dataclass(frozen=True)
class Snapshot:
    """One version as the policy sees it."""

    version: int
    phase: Phase
    aspired: bool
    """The folder and the config want it."""


@dataclass(frozen=True)
class Load:
    """Load this version now."""

    version: int


@dataclass(frozen=True)
class Unload:
    """Unload this version now."""

    version: int


Action = Load | Unload


def next_action(versions: Sequence[Snapshot]) -> Action | None:
    """Decides the next step for one model.

    A version that is no longer wanted goes once a wanted one serves, or none is wanted, or two unwanted ones serve;
    the lowest first. Otherwise the highest new wanted version is loaded.

    >>> next_action([Snapshot(1, Phase.READY, False), Snapshot(2, Phase.NEW, True)])
    Load(version=2)
    >>> next_action([Snapshot(1, Phase.READY, False), Snapshot(2, Phase.BUSY, True)])
    >>> next_action([Snapshot(1, Phase.READY, False), Snapshot(2, Phase.READY, True)])
    Unload(version=1)
    """
    aspired = [version for version in versions if version.aspired]
    unwanted = [version.version for version in versions if not version.aspired and version.phase is Phase.READY]
    replaced = any(version.phase is Phase.READY for version in aspired)
    if unwanted and (not aspired or replaced or len(unwanted) > 1):
        return Unload(min(unwanted))
    new = [version.version for version in aspired if version.phase is Phase.NEW]
    return Load(max(new)) if new else None
