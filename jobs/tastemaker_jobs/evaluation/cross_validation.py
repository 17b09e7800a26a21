"""K-fold cross-validation of a model over users or images: each fold trained, judged, set beside the baselines.

A fold is a plain function of small arguments, so that folds can run anywhere. Vocabulary, popularity and everything
else that is fitted is fitted inside the fold.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tastemaker_jobs.data.data_files import DataFiles
from tastemaker_jobs.data.folds import user_folds
from tastemaker_jobs.data.ratings import read_ratings
from tastemaker_jobs.data.splits import Split
from tastemaker_jobs.evaluation.inputs import read_features
from tastemaker_jobs.evaluation.leakage import check_folds
from tastemaker_jobs.evaluation.metrics import Figure, judge
from tastemaker_jobs.evaluation.protocol import test_questions
from tastemaker_jobs.training.progress import EpochEvent, Report, StageEvent

if TYPE_CHECKING:
    from tastemaker_jobs.models.recommender import Fit

__all__ = [
    "FOLD_METRICS",
    "Confusion",
    "Fold",
    "FoldRequest",
    "Spread",
    "as_json",
    "checked_folds",
    "of_fold",
    "run_fold",
    "spread",
    "summed_confusion",
]

FOLD_METRICS = ("ndcg@10", "hr@10", "recall@20", "ndcg@100")
"""What each fold of users is judged by; `image_folds` has its own."""


@dataclass(frozen=True)
class FoldRequest:
    """What to cross-validate. Small, so that it travels to a worker; the paths must mean the same there."""

    model: str
    """A name of `MODEL_NAMES`."""
    data: DataFiles
    """Ratings, whole; a protocol in it is not looked at."""
    folds: int
    """K, 3 or more."""
    seed: int
    """Of the folds, of training and of resampling."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """In place of the model's defaults."""
    number: int = 0
    """Which fold, from 0."""


@dataclass(frozen=True)
class Confusion:
    """Which classes a classifier takes for which."""

    labels: tuple[str, ...]
    """[K]."""
    counts: tuple[tuple[int, ...], ...]
    """[K, K]: row is the right label, column the answer."""


@dataclass(frozen=True)
class Fold:
    """What came out of one fold."""

    number: int
    """From 0."""
    figures: Mapping[str, Sequence[Figure]]
    """The model and each baseline by name: the same metrics in the same order, with intervals over the fold's users or
    images."""
    epochs: int
    """How many were run."""
    seconds: float
    """How long training took."""
    confusion: Confusion | None = None
    """Of a classifier."""


@dataclass(frozen=True)
class Spread:
    """The mean of a metric over folds, with its 95 % interval by Student's t: how much the choice of users matters."""

    name: str
    """For example "ndcg@10"."""
    value: float
    """Mean over folds; NaN if a fold has none."""
    lower: float
    """Lower end of the interval."""
    upper: float
    """Upper end of the interval."""


def checked_folds(request: FoldRequest) -> list[Split]:
    """The folds, held against each other.

    Raises:
        TooFewRatingsError: There are too few users.
        LeakageError: A fold leaks.
    """
    splits = list(
        user_folds(read_ratings(request.data.ratings).without_repeats(), folds=request.folds, seed=request.seed)
    )
    check_folds(splits)
    return splits


def run_fold(request: FoldRequest, report: Report, *, fit: "Fit | None" = None) -> Fold:
    """Train and judge one fold.

    Args:
        request: The cross-validation, and which fold.
        report: Told of stages and epochs.
        fit: Descends the gradient, in place of the loop in this process.
    """
    from tastemaker_jobs.evaluation.baselines import baseline_lists  # here, so that TensorFlow is in the worker alone
    from tastemaker_jobs.evaluation.ranking import ranked_lists
    from tastemaker_jobs.models import model_class
    from tastemaker_jobs.training.learning import learn_split
    from tastemaker_jobs.training.settings import config_of

    named = of_fold(report, request.number)

    split, kind = checked_folds(request)[request.number], model_class(request.model)
    features = read_features(request.data)
    config = config_of(kind, request.settings)
    learnt = learn_split(kind, config, split, features, seed=request.seed, report=named, fit=fit)

    def noted(text: str) -> None:
        named(StageEvent(request.model, text))

    questions = test_questions(split)
    longest = max(int(name.partition("@")[2]) for name in FOLD_METRICS)
    lists = baseline_lists(split, questions, k=longest, seed=request.seed, note=noted)
    lists[request.model] = ranked_lists(learnt.model, learnt.data.vocabulary, questions, k=longest)
    figures = {
        name: judge(of_model, questions.wanted, seed=request.seed, names=FOLD_METRICS)
        for name, of_model in lists.items()
    }
    return Fold(request.number, figures, learnt.trained.epochs, learnt.trained.seconds)


def of_fold(report: Report, number: int) -> Report:
    """The same listener, told of which fold each event is: folds run side by side.

    Args:
        report: Told of stages and epochs.
        number: From 0.
    """

    def named(event: StageEvent | EpochEvent) -> None:
        report(dataclasses.replace(event, model=f"{event.model}, fold {number + 1}"))

    return named


def spread(folds: Sequence[Fold]) -> dict[str, list[Spread]]:
    """Each model's and baseline's metrics over folds.

    Args:
        folds: Two or more.

    Returns:
        Name to a spread for each metric of the folds.
    """
    from scipy import stats  # here: who only shows a table need not wait for it

    found: dict[str, list[Spread]] = {}
    for name, figures in folds[0].figures.items():
        values = np.array([[figure.value for figure in fold.figures[name]] for fold in folds])  # [K, M]
        mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(len(folds))  # [M] each
        reach = stats.t.ppf(0.975, len(folds) - 1) * error  # [M]
        found[name] = [
            Spread(figure.name, float(m), float(m - r), float(m + r))
            for figure, m, r in zip(figures, mean, reach, strict=True)
        ]
    return found


def summed_confusion(folds: Sequence[Fold]) -> Confusion | None:
    """Of all folds together; None where they are not of a classifier."""
    found = [fold.confusion for fold in folds if fold.confusion]
    if not found:
        return None
    labels = tuple(sorted({label for one in found for label in one.labels}))
    place = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)  # [K, K]
    for one in found:
        at = [place[label] for label in one.labels]
        counts[np.ix_(at, at)] += np.array(one.counts)
    return Confusion(labels, tuple(map(tuple, counts.tolist())))


def as_json(request: FoldRequest, folds: Sequence[Fold]) -> dict[str, Any]:
    """A cross-validation as JSON has it."""
    return {
        "model": request.model,
        "dataset": request.data.dataset,
        "seed": request.seed,
        "settings": dict(request.settings),
        "interval": "95 %, Student's t over folds; in a fold, percentile bootstrap over its users or images",
        "folds": [
            {
                "fold": fold.number,
                "epochs": fold.epochs,
                "seconds": round(fold.seconds, 2),
                "figures": {name: [asdict(figure) for figure in of_model] for name, of_model in fold.figures.items()},
                **({"confusion": asdict(fold.confusion)} if fold.confusion else {}),
            }
            for fold in folds
        ],
        "mean": {name: [asdict(value) for value in of_model] for name, of_model in spread(folds).items()},
    }
