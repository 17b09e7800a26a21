"""How well labels are told: accuracy with its interval, each class, and which classes are taken for each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tastemaker_jobs.evaluation.metrics import Figure, figure_of

__all__ = ["Classified", "OfClass", "judge_labels"]


@dataclass(frozen=True)
class OfClass:
    """One class of the test."""

    label: str
    """Its name."""
    count: int
    """How many test examples have it."""
    recall: float
    """The share of these that were told; NaN where there are none."""
    precision: float
    """The share of those told to be it that are; NaN where none were."""


@dataclass(frozen=True)
class Classified:
    """What came out for one model or baseline."""

    name: str
    """For tables."""
    accuracy: Figure
    """The share of test examples whose most probable label is right, with its bootstrap interval over examples."""
    classes: tuple[OfClass, ...]
    """In order of `labels`."""
    labels: tuple[str, ...]
    """[K], of test and answers together, sorted."""
    confusion: tuple[tuple[int, ...], ...]
    """[K, K] counts: row is the right label, column the answer."""


def judge_labels(name: str, answers: Sequence[str], wanted: Sequence[str], *, seed: int) -> Classified:
    """Judge answers.

    Args:
        name: Of who answered.
        answers: [N].
        wanted: [N], the right ones.
        seed: Of the bootstrap.
    """
    labels = tuple(sorted({*answers, *wanted}))
    number = {label: place for place, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)  # [K, K]
    np.add.at(counts, ([number[label] for label in wanted], [number[label] for label in answers]), 1)
    right = np.array([one == other for one, other in zip(answers, wanted, strict=True)], dtype=np.float64)  # [N]
    with np.errstate(invalid="ignore"):
        recall, precision = counts.diagonal() / counts.sum(axis=1), counts.diagonal() / counts.sum(axis=0)  # [K] each
    classes = tuple(
        OfClass(label, int(counts[place].sum()), float(recall[place]), float(precision[place]))
        for place, label in enumerate(labels)
    )
    return Classified(
        name, figure_of("accuracy", right, seed=seed), classes, labels, tuple(map(tuple, counts.tolist()))
    )
