"""How training tells what it does: an event per epoch, to whoever listens. Shown on a terminal by `console`."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["EpochEvent", "Report", "StageEvent"]


@dataclass(frozen=True)
class StageEvent:
    """A model's training enters another stage."""

    model: str
    """The model's name."""
    stage: str
    """What it does now, for example "exporting"."""
    is_restart: bool = False
    """Whether it goes on from what was kept of an earlier try."""


@dataclass(frozen=True)
class EpochEvent:
    """An epoch ended."""

    model: str
    """The model's name."""
    epoch: int
    """From 1."""
    epochs: int
    """How many there are at most."""
    loss: float
    """Mean training loss of the epoch."""
    valid_ndcg: float
    """NDCG@10, or what `measure` names, on the validation items, 0 to 1; NaN where there are none."""
    seconds: float
    """How long the epoch took."""
    measure: str = "NDCG@10"
    """What validation measures."""
    examples: int = 0
    """How many examples were learnt from, by all workers together."""


Report = Callable[[StageEvent | EpochEvent], None]
