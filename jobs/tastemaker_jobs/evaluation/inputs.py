"""From files to what is trained on and judged by: the split, and what is known of the items."""

from tastemaker_jobs.data.data_files import DataFiles
from tastemaker_jobs.data.given_split import given_split
from tastemaker_jobs.data.item_features import ItemFeatures, read_item_features
from tastemaker_jobs.data.ratings import read_ratings
from tastemaker_jobs.data.splits import Split
from tastemaker_jobs.data.vocabulary import Vocabulary
from tastemaker_jobs.evaluation.protocol import PROTOCOLS

__all__ = ["read_features", "read_split", "vocabulary_of"]


def read_split(files: DataFiles) -> Split:
    """The split that a model is trained on.

    Raises:
        DataError: A file cannot be read or breaks its format; see `read_ratings`.
        TooFewRatingsError: There is not enough to split.
    """
    ratings = read_ratings(files.ratings)
    if files.protocol is not None:
        return PROTOCOLS[files.protocol].split(ratings)
    return given_split(ratings, valid=read_ratings(files.valid) if files.valid else None)


def read_features(files: DataFiles) -> ItemFeatures | None:
    """What is known of the items; None where no list of items was given.

    Raises:
        DataError: A file cannot be read or breaks its format; see `read_item_features`.
    """
    return read_item_features(files.items, files.images) if files.items else None


def vocabulary_of(split: Split, features: ItemFeatures | None) -> Vocabulary:
    """The items that a model is to know.

    Args:
        split: Its training items, most trained-on first.
        features: For models that look at items: untouched ones follow, in their order of id. None for the others.
    """
    trained = Vocabulary.of(split.train.item_id)
    if features is None:
        return trained
    return trained.extended(sorted(set(features.item_ids) - trained.index.keys()))
