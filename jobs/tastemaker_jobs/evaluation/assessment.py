"""An evaluation from lists to figures: each model and baseline by each metric, against each other, by segment.

Knows nothing of SavedModels and of HTML: lists come in, numbers go out, also as JSON.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tastemaker_jobs.data.splits import Split
from tastemaker_jobs.evaluation.beyond_accuracy import MEANINGS, TrainingItems, describe_lists
from tastemaker_jobs.evaluation.comparison import SIGNIFICANCE, Difference, compare_pairs
from tastemaker_jobs.evaluation.leakage import CHECKS
from tastemaker_jobs.evaluation.metrics import TIE_POLICY, Figure, figure_of, judge, per_user
from tastemaker_jobs.evaluation.protocol import Protocol, Questions
from tastemaker_jobs.evaluation.segments import Segment, segments_of

__all__ = ["Assessment", "Judged", "as_json", "assess"]


@dataclass(frozen=True)
class Judged:
    """What came out for one model or baseline."""

    name: str
    """For tables."""
    figures: tuple[Figure, ...]
    """Of the protocol's metrics, in their order."""
    traits: tuple[Figure, ...]
    """What its lists are like: `MEANINGS`, in their order."""
    segments: tuple[Figure, ...]
    """The protocol's first metric in each segment, in the order of `Assessment.segments`."""


@dataclass(frozen=True)
class Assessment:
    """What came out of an evaluation."""

    dataset: str
    """What the data is called."""
    protocol: Protocol
    """How it was judged."""
    split: Split
    """On what."""
    questions: Questions
    """Who was asked what."""
    segments: tuple[Segment, ...]
    """Parts of the questions."""
    judged: tuple[Judged, ...]
    """Baselines and models, in the order given."""
    differences: Mapping[str, Mapping[tuple[str, str], Difference]]
    """Metric to (ahead, behind) to difference, every pair both ways round."""


def assess(
    lists: Mapping[str, Mapping[str, Sequence[str]]],
    *,
    questions: Questions,
    split: Split,
    protocol: Protocol,
    dataset: str,
    seed: int,
) -> Assessment:
    """Judge lists.

    Args:
        lists: Model or baseline to user to items, best first, as long as the protocol's largest k. Any number of them.
        questions: What they answer.
        split: That the questions were made from.
        protocol: Says what is measured.
        dataset: What the data is called.
        seed: Of all resampling.
    """
    items = TrainingItems(split.train)
    segments = tuple(segments_of(questions, items))
    values = {name: per_user(of_model, questions.wanted, names=protocol.metrics) for name, of_model in lists.items()}
    judged = tuple(
        Judged(
            name,
            figures=tuple(figure_of(metric, values[name][metric], seed=seed) for metric in protocol.metrics),
            traits=tuple(describe_lists(of_model, questions.histories, items, seed=seed)),
            segments=tuple(
                figure
                for segment in segments
                for figure in judge(segment.lists(of_model), segment.wanted, seed=seed, names=protocol.metrics[:1])
            ),
        )
        for name, of_model in lists.items()
    )
    differences = {
        metric: compare_pairs({name: of_model[metric] for name, of_model in values.items()}, metric=metric, seed=seed)
        for metric in protocol.metrics
    }
    return Assessment(dataset, protocol, split, questions, segments, judged, differences)


def as_json(assessment: Assessment) -> dict[str, Any]:
    """An assessment as JSON has it, NaN as null."""
    split = assessment.split
    content = {
        "dataset": assessment.dataset,
        "protocol": assessment.protocol.name,
        "users": len(assessment.questions.wanted),
        "events": {part: len(getattr(split, part)) for part in ("train", "valid", "test", "fold_in")},
        "tie_policy": TIE_POLICY,
        "significance": SIGNIFICANCE,
        "meanings": MEANINGS,
        "leakage_checks_passed": list(CHECKS),
        "segments": {segment.name: segment.definition for segment in assessment.segments},
        "models": {
            judged.name: {
                "metrics": [asdict(figure) for figure in judged.figures],
                "lists": [asdict(figure) for figure in judged.traits],
                "segments": {
                    segment.name: asdict(figure)
                    for segment, figure in zip(assessment.segments, judged.segments, strict=True)
                },
            }
            for judged in assessment.judged
        },
        "differences": [
            asdict(difference) | {"significant": difference.significant}
            for of_metric in assessment.differences.values()
            for difference in of_metric.values()
        ],
    }
    cleaned: dict[str, Any] = _without_nan(content)
    return cleaned


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
