"""What a model may learn from: users' events as item numbers, how much each counts, and the items themselves."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tastemaker_jobs.data.item_features import ItemFeatures
from tastemaker_jobs.data.ratings import Ratings
from tastemaker_jobs.data.vocabulary import Vocabulary
from tastemaker_jobs.errors import ConfigError

if TYPE_CHECKING:
    from tastemaker_jobs.models.recommender import ModelConfig

__all__ = ["TrainingData"]

_COLUMNS = ("histories", "weights", "ratings", "timestamps")


@dataclass(frozen=True)
class TrainingData:
    """Events of U users. The arrays of a user are aligned: one entry per event, oldest first, T of 1 or more."""

    vocabulary: Vocabulary
    """The I items: those of the training events and, for models that look at items, all that are listed."""
    histories: tuple[npt.NDArray[np.int32], ...]
    """Of each user, [T] item numbers, 1 to I."""
    weights: tuple[npt.NDArray[np.float32], ...]
    """Of each user, [T]: how much each event counts. Their mean over all events is 1: losses stay comparable."""
    ratings: tuple[npt.NDArray[np.float32], ...]
    """Of each user, [T]: as given."""
    timestamps: tuple[npt.NDArray[np.int64], ...]
    """Of each user, [T]: seconds since 1970-01-01 UTC."""
    features: ItemFeatures | None = None
    """What is known of the items, in the vocabulary's order; None where no list of items was given."""

    unit: ClassVar[str] = "users"
    """What a row is."""

    def __len__(self) -> int:
        return len(self.histories)

    @property
    def item_count(self) -> int:
        """I."""
        return len(self.vocabulary)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """How much work each user is, [U]."""
        return np.array([len(history) for history in self.histories], np.int64)

    def columns(self, rows: Sequence[int]) -> dict[str, Any]:
        """Users as columns of a table; `with_columns` takes them back.

        Args:
            rows: Which users.
        """
        return {name: [getattr(self, name)[row] for row in rows] for name in _COLUMNS}

    def without_rows(self) -> "TrainingData":
        """What a worker must know besides its users."""
        return TrainingData(self.vocabulary, (), (), (), (), self.features)

    def with_columns(self, columns: Mapping[str, Sequence[pa.Scalar]]) -> "TrainingData":
        """These users in place of those that it has.

        Args:
            columns: Of `columns`, each a value per user.
        """
        arrays = [tuple(value.values.to_numpy() for value in columns[name]) for name in _COLUMNS]
        histories, weights, ratings, timestamps = arrays
        return TrainingData(self.vocabulary, histories, weights, ratings, timestamps, self.features)

    def trained_only(self) -> "TrainingData":
        """The same events with the vocabulary cut to the items that have any; these come first in it."""
        count = max(int(history.max()) for history in self.histories)
        if count == self.item_count:
            return self
        vocabulary = self.vocabulary.first(count)
        features = self.features.in_order(vocabulary.item_ids) if self.features else None
        return dataclasses.replace(self, vocabulary=vocabulary, features=features)

    @classmethod
    def of(
        cls, train: Ratings, vocabulary: Vocabulary, *, config: "ModelConfig", features: ItemFeatures | None = None
    ) -> "TrainingData":
        """Training events as a model's settings want them: those rated too low left out, the others weighed.

        Args:
            train: In order of time, ties by file order.
            vocabulary: Has all items of the events.
            config: Its `min_rating`, `weigh_by_rating` and `event_weights` are followed.
            features: In the vocabulary's order.

        Raises:
            ConfigError: An event type has no weight, a rating cannot be a weight, or no event is left.
        """
        kept = train.where(train.rating >= config.min_rating)
        weight = _weights(kept, config)  # [N]
        counted = weight > 0
        kept, weight = kept.where(counted), weight[counted]
        if not len(kept):
            raise ConfigError(
                f"{type(config).__name__}: of {len(train)} training events none is left. Lower min_rating, now"
                f" {config.min_rating}, or give event_weights above 0."
            )
        weight = weight / weight.mean(dtype=np.float64)
        number = np.array([vocabulary.index[item] for item in kept.item_id], dtype=np.int32)  # [N]
        rows: dict[str, list[int]] = {}
        for row, user in enumerate(kept.user_id):
            rows.setdefault(user, []).append(row)
        of_user = [np.array(found) for found in rows.values()]
        return cls(
            vocabulary,
            tuple(number[found] for found in of_user),
            tuple(weight[found].astype(np.float32) for found in of_user),
            tuple(kept.rating[found] for found in of_user),
            tuple(kept.timestamp[found] for found in of_user),
            features,
        )


def _weights(events: Ratings, config: "ModelConfig") -> npt.NDArray[np.float64]:
    weight = np.ones(len(events))  # [N]
    if config.event_weights:
        unknown = sorted(set(events.event_type) - config.event_weights.keys())
        if unknown:
            raise ConfigError(
                f"{type(config).__name__}: event_weights has no weight for {', '.join(map(repr, unknown))}. Give each"
                " event_type of the ratings file one; 0 leaves its events out."
            )
        weight *= np.array([config.event_weights[kind] for kind in events.event_type])
    if config.weigh_by_rating:
        if (events.rating < 0).any():
            raise ConfigError(
                f"{type(config).__name__}: weigh_by_rating needs ratings of 0 and more, and there are lower ones. Set"
                " min_rating or leave weigh_by_rating off."
            )
        weight *= events.rating
    return weight
