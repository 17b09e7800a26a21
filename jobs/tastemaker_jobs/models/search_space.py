"""What may be tried for a setting when a model is tuned: declared beside each model, turned into Ray's by `tuning`."""

from dataclasses import dataclass
from typing import Any

__all__ = ["Choice", "Domain", "LogUniform", "Uniform"]


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]
    """1 or more."""


@dataclass(frozen=True)
class Uniform:
    """Any number of a range, each as likely."""

    low: float
    """Smallest."""
    high: float
    """Largest."""


@dataclass(frozen=True)
class LogUniform:
    """Any number of a range, each order of magnitude as likely."""

    low: float
    """Smallest, above 0."""
    high: float
    """Largest."""


Domain = Choice | LogUniform | Uniform
"""Of one setting."""
