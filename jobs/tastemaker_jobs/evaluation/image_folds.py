"""K-fold cross-validation of an image classifier: classes spread evenly over the folds."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from tastemaker_jobs.data.data_files import DataFiles
from tastemaker_jobs.data.folds import stratified_folds
from tastemaker_jobs.data.labelled_images import LabelledImages, hold_out, read_labelled_images
from tastemaker_jobs.errors import DataError, LeakageError, TooFewRatingsError
from tastemaker_jobs.evaluation.classification import judge_labels
from tastemaker_jobs.evaluation.cross_validation import Confusion, Fold, FoldRequest, of_fold
from tastemaker_jobs.training.progress import Report

if TYPE_CHECKING:
    from tastemaker_jobs.models.recommender import Fit

__all__ = ["check_image_folds", "run_image_fold"]

_BASELINE = "most frequent label"


def check_image_folds(request: FoldRequest) -> None:
    """Read the images and deal them, so that what is wrong with them is known before TensorFlow starts.

    Raises:
        DataError: The file cannot be read, breaks its format or is none.
        TooFewRatingsError: There are too few images, or a fold would train without a class.
        LeakageError: An image is in two folds under different ids.
    """
    images = _images(request.data)
    for number, (train, valid, test) in enumerate(_folds(request, images), start=1):
        if missing := sorted(set(images.labels) - set(train.labels)):
            raise TooFewRatingsError(
                f"{images.path}: fold {number} has no image of {missing[0]!r} to train on. Ask for fewer folds, or give"
                " more images of that label."
            )
        learnt = {*train.images, *valid.images}
        if twice := [name for name, image in zip(test.ids, test.images, strict=True) if image in learnt]:
            shown = [f"id {name!r}" for name in twice[:10]]
            raise LeakageError(
                f"fold {number}", shown, f"{len(twice)} test images have a twin in training. Give twins one id."
            )


def run_image_fold(request: FoldRequest, report: Report, *, fit: "Fit | None" = None) -> Fold:
    """Train and judge one fold.

    Args:
        request: The cross-validation, and which fold.
        report: Told of stages and epochs.
        fit: Descends the gradient, in place of the loop in this process.
    """
    from tastemaker_jobs.models import classifier_class  # here, so that TensorFlow is in the worker alone
    from tastemaker_jobs.training.image_run import learn_images
    from tastemaker_jobs.training.settings import config_of

    named = of_fold(report, request.number)

    kind: Any = classifier_class(request.model)
    train, valid, test = _folds(request, _images(request.data))[request.number]
    config = config_of(kind, request.settings)
    learnt = learn_images(kind, config, train, valid, seed=request.seed, report=named, fit=fit)
    most = Counter(train.labels).most_common(1)[0][0]
    baseline = judge_labels(_BASELINE, [most] * len(test), test.labels, seed=request.seed)
    judged = judge_labels(request.model, learnt.answers(test), test.labels, seed=request.seed)
    figures = {found.name: [found.accuracy] for found in (baseline, judged)}
    confusion = Confusion(judged.labels, judged.confusion)
    return Fold(request.number, figures, learnt.trained.epochs, learnt.trained.seconds, confusion)


def _images(data: DataFiles) -> LabelledImages:
    if data.ratings.suffix != ".parquet":
        raise DataError("An image classifier learns from labelled images. Give a Parquet file of them with --train.")
    return read_labelled_images(data.ratings)


def _folds(request: FoldRequest, images: LabelledImages) -> list[tuple[LabelledImages, LabelledImages, LabelledImages]]:
    """Of each fold: what is trained on, what decides which epoch is the best, and the test."""
    labels = {label: number for number, label in enumerate(sorted(set(images.labels)))}
    numbers = [labels[label] for label in images.labels]
    dealt = stratified_folds(images.ids, numbers, folds=request.folds, seed=request.seed)
    return [(*hold_out(images.take(train)), images.take(test)) for train, test in dealt]
