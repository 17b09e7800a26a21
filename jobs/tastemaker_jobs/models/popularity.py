"""The most popular items, the same for everyone; an event counts less the older it is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tastemaker_jobs.models.recommender import ModelConfig, Recommender
from tastemaker_jobs.models.search_space import Domain, LogUniform
from tastemaker_jobs.models.training_data import TrainingData
from tastemaker_jobs.training.progress import Report
from tastemaker_jobs.training.request import Trained
from tastemaker_jobs.training.validation import Validation, score_function

__all__ = ["Popularity", "PopularityConfig"]

_DAY_SECONDS = 86_400


@dataclass(frozen=True)
class PopularityConfig(ModelConfig):
    """Settings of popularity."""

    half_life_days: float = 90.0
    """After this time before the newest training event an event counts half. 0 or infinity: all count the same."""

    @classmethod
    def _in_range(cls, name: str, value: Any) -> bool:
        return bool(value >= 0) if name == "half_life_days" else super()._in_range(name, value)


class Popularity(Recommender):
    """A number [I] per item: the weights of its events, halved for each half-life since. The history has no say."""

    name_in_registry = "popularity"
    config_class = PopularityConfig
    search_space: ClassVar[Mapping[str, Domain]] = {
        "half_life_days": LogUniform(3.0, 1000.0),
    }
    explains = False

    def __init__(self, config: PopularityConfig, *, item_count: int, seed: int) -> None:
        super().__init__(config, item_count=item_count, seed=seed)
        self.popularity = self.add_weight(shape=(item_count,), initializer="zeros", trainable=False, name="popularity")

    def learn(self, data: TrainingData, *, validation: Validation, seed: int, report: Report) -> Trained:
        """See `Recommender.learn`; counted."""
        del seed, report  # counted: no epochs, and no randomness
        item = np.concatenate(data.histories) - 1  # [N]
        weight = np.concatenate(data.weights).astype(np.float64)  # [N]
        half_life = self.config.half_life_days * _DAY_SECONDS
        if 0 < half_life < math.inf:
            time = np.concatenate(data.timestamps)  # [N]
            weight *= 0.5 ** ((time.max() - time) / half_life)
        self.popularity.assign(np.bincount(item, weight, minlength=self.item_count))
        return Trained(epochs=0, best_epoch=0, valid_ndcg=validation.ndcg(score_function(self)), seconds=0.0)

    def score_items(self, history: tf.Tensor) -> tf.Tensor:
        """The same for every history."""
        return tf.tile(tf.convert_to_tensor(self.popularity)[tf.newaxis], [tf.shape(history)[0], 1])  # [B, I]

    def item_vectors(self) -> tf.Tensor:
        """All alike, as counts know nothing of likeness: `similar` then lists items in the vocabulary's order.

        That is the order of plain counts, so that it too answers with what is popular.
        """
        return tf.ones([self.item_count, 1])
