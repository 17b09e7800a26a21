"""What every model is to the rest of the jobs: something that makes training examples, has a loss, and scores items.

Training loop, evaluation and signatures know this class alone, so a new model is one new file.
"""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tastemaker_jobs.errors import ConfigError

__all__ = ["Examples", "ModelConfig", "Recommender"]

Examples = Mapping[str, npt.NDArray[Any]]
"""Training examples as named arrays; the first axis of each is N, the number of examples."""


@dataclass(frozen=True)
class ModelConfig:
    """The settings that every model has; each model adds its own and gives all of them defaults."""

    epochs: int = 30
    """Passes over the training data at most. 1 or more."""
    patience_epochs: int = 5
    """Training stops after this many epochs without a better validation score. 1 or more."""
    batch_size: int = 64
    """Examples per step. 1 or more."""
    learning_rate: float = 1e-3
    """Adam's step size. Above 0."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: Lists every bad setting.
        """
        bad = [f"{name} is {value}" for name, value in vars(self).items() if not self._in_range(name, value)]
        if bad:
            raise ConfigError(
                f"{type(self).__name__}: {', '.join(bad)}; counts are 1 or more, rates above 0, dropout 0 to 1."
            )

    @staticmethod
    def _in_range(name: str, value: float) -> bool:
        if name.endswith("dropout"):
            return 0 <= value < 1
        return value >= 1 if isinstance(value, int) else value > 0


class Recommender(keras.Model, abc.ABC):
    """A Keras model that scores I items for histories. Item numbers are 1 to I; 0 is padding or an unknown item."""

    name_in_registry: ClassVar[str]
    """The model's name on the command line and under `models/`."""
    config_class: ClassVar[type[ModelConfig]]
    """Its settings; `config_class()` is the default."""

    @abc.abstractmethod
    def __init__(self, config: Any, *, item_count: int, seed: int) -> None:
        """Make the weights.

        Args:
            config: Of `config_class`.
            item_count: I, 1 or more.
            seed: Initial weights and dropout follow from it.
        """
        super().__init__()
        self.config = config
        self.item_count = item_count

    @abc.abstractmethod
    def examples(self, histories: Sequence[npt.NDArray[np.int32]], rng: np.random.Generator) -> Examples:
        """Training examples for one epoch.

        Args:
            histories: Of each user, [T] item numbers, oldest first, T of 1 or more.
            rng: For whatever should differ between epochs.

        Returns:
            Named arrays of N examples; dtypes and all axes but the first stay the same from epoch to epoch.
        """

    @abc.abstractmethod
    def training_loss(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The loss of some examples, dropout on.

        Args:
            batch: As from `examples`, B of them.

        Returns:
            float32 [], the mean over what is predicted.
        """

    @abc.abstractmethod
    def score_items(self, history: tf.Tensor) -> tf.Tensor:
        """How well each item fits next, dropout off. Made of stock TensorFlow ops, as it goes into the SavedModel.

        Args:
            history: int32 [B, T], oldest first; zeros anywhere mean nothing; T may be 0.

        Returns:
            float32 [B, I], column i - 1 for item i; higher is better.
        """

    @abc.abstractmethod
    def item_vectors(self) -> tf.Tensor:
        """What the model has learnt of each item, for `similar`.

        Returns:
            float32 [I, D], row i - 1 for item i.
        """
