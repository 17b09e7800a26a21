"""What every model is to the rest of the jobs: something that learns from histories and scores items.

Training, evaluation and signatures know these classes alone, so a new model is one new file.
"""

import abc
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tastemaker_jobs.errors import ConfigError
from tastemaker_jobs.models.search_space import Domain
from tastemaker_jobs.models.training_data import TrainingData
from tastemaker_jobs.training.progress import Report
from tastemaker_jobs.training.request import Trained
from tastemaker_jobs.training.validation import Validation

__all__ = [
    "Embedder",
    "Examples",
    "Fit",
    "GradientConfig",
    "GradientRecommender",
    "Judge",
    "ModelConfig",
    "Recommender",
]

Examples = Mapping[str, npt.NDArray[Any]]
"""Training examples as named arrays; the first axis of each is N, the number of examples."""


class Judge(Protocol):
    """Says after each epoch how good a model is now."""

    def __len__(self) -> int:
        """How many questions it asks."""

    @property
    def measure(self) -> str:
        """What it measures."""

    def part(self, number: int, parts: int) -> "Judge":
        """Every so-manieth question, so that workers can share them."""

    def scorer(self, model: Any) -> Callable[[], float]:
        """Gives the score of the model as it is at each call; higher is better, NaN where nobody can tell."""


class Fit(Protocol):
    """Descends the gradient of a model in place; at the end it has the weights of its best epoch."""

    def __call__(self, model: Any, data: Any, *, validation: Judge, seed: int, report: Report) -> Trained:
        """See `training.loop.fit`."""


_EXPLAINED_EVENTS = 50
"""How many of the newest events an explanation looks at; each costs a run of the model."""


@dataclass(frozen=True)
class ModelConfig:
    """The settings that every model has; each model adds its own and gives all of them defaults."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Of a config with the setting `preset`: what each preset sets in place of the defaults."""
    min_rating: float = -math.inf
    """Events rated below this are not learnt from. The default learns from all."""
    weigh_by_rating: bool = False
    """Whether an event's weight is its rating divided by the mean rating; ratings must then be above 0."""
    event_weights: Mapping[str, float] = field(default_factory=dict)
    """Weight of an event by its event_type, such as view 1, purchase 5. 0 or more. Empty: all weigh the same."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: Lists every bad setting.
        """
        bad = [f"{name} is {value!r}" for name, value in vars(self).items() if not self._in_range(name, value)]
        if bad:
            raise ConfigError(
                f"{type(self).__name__}: {', '.join(bad)}; counts are 1 or more, rates above 0, dropout 0 to 1, weights"
                " 0 or more."
            )

    @classmethod
    def _in_range(cls, name: str, value: Any) -> bool:
        """Whether a setting can work. A config with settings for which the general rule is wrong overrides this."""
        if isinstance(value, bool | str | tuple) or name == "min_rating":
            return bool(value == value)  # NaN is not
        if isinstance(value, Mapping):
            return all(0 <= weight < math.inf for weight in value.values())
        if name.endswith("dropout"):
            return bool(0 <= value < 1)
        return bool(value >= 1 if isinstance(value, int) else 0 < value < math.inf)


@dataclass(frozen=True)
class GradientConfig(ModelConfig):
    """The settings that models trained by gradient descent share."""

    epochs: int = 30
    """Passes over the training data at most. 1 or more."""
    patience_epochs: int = 5
    """Training stops after this many epochs without a better validation score. 1 or more."""
    batch_size: int = 64
    """Examples per step. 1 or more."""
    learning_rate: float = 1e-3
    """Adam's step size. Above 0."""
    final_rate_share: float = 0.1
    """What is left of it at the end of training; it falls along half a cosine. Above 0; 1 keeps it."""
    clip_norm: float = 1.0
    """Longer gradients are shortened to this. Above 0."""


@dataclass(frozen=True)
class Embedder:
    """The signature `embed_items`: a function of stock TensorFlow ops and what it takes."""

    function: Any
    """From tensors in the order of `inputs` to float32 [B, D]."""
    inputs: tuple[tf.TensorSpec, ...]
    """Each with its name."""
    resources: tuple[Any, ...] = ()
    """What the function needs besides the model's weights, such as lookup tables; saved with it."""


class Recommender(keras.Model, abc.ABC):
    """A Keras model that scores I items for histories. Item numbers are 1 to I; 0 is padding or an unknown item."""

    name_in_registry: ClassVar[str]
    """The model's name on the command line and under `models/`."""
    config_class: ClassVar[type[ModelConfig]]
    """Its settings; `config_class()` is the default."""
    knows_untouched_items: ClassVar[bool] = False
    """Whether it looks at the items themselves, so that its vocabulary is the whole list of items."""
    search_space: ClassVar[Mapping[str, Domain]] = {}
    """What `tune` may try, by setting."""
    explains: ClassVar[bool] = True
    """Whether the signature `explain` makes sense: it does unless the history decides nothing."""
    descends: ClassVar[bool] = False
    """Whether it, or a part of it, is trained by gradient descent, so that workers can share the training."""
    fit_with: "Fit | None" = None
    """What descends the gradient, in place of the loop in this process; of no use to a model without one."""
    encodes: ClassVar[bool] = False
    """Whether it has the signature `encode`: then it overrides `user_vectors`."""

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

    @classmethod
    def for_data(cls, config: Any, data: TrainingData, *, seed: int) -> Self:
        """A fresh model of the right size. What needs more of the data than the number of items overrides this."""
        return cls(config, item_count=data.item_count, seed=seed)

    @classmethod
    def looks_at_items(cls, config: Any, *, listed: bool) -> bool:  # noqa: ARG003  for those that override it
        """Whether the vocabulary is to be the whole list of items. A model whose settings decide it overrides this.

        Args:
            config: Of `config_class`.
            listed: Whether there is a list of items.
        """
        return cls.knows_untouched_items

    @abc.abstractmethod
    def learn(self, data: TrainingData, *, validation: Validation, seed: int, report: Report) -> Trained:
        """Learn in place from the training data; at the end it is ready to score.

        Args:
            data: All that may be learnt from.
            validation: For choices such as when to stop; never learnt from as if it were training data.
            seed: One seed gives one model.
            report: Told of each epoch, where there are any.

        Raises:
            TrainingDivergedError: The loss became NaN or infinite.
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

    def contributions(self, history: tf.Tensor, item: tf.Tensor) -> tf.Tensor:
        """How much each event of a history adds to the score of an item, for `explain`.

        Here: the score less the score without that event, for the newest 50 events; the older ones get 0. A model that
        can tell exactly and cheaper overrides this.

        Args:
            history: int32 [B, T], as for `score_items`.
            item: int32 [B], 1 to I.

        Returns:
            float32 [B, T], 0 where the history has a 0.
        """
        batch, length = tf.shape(history)[0], tf.shape(history)[1]
        looked_at = tf.minimum(length, _EXPLAINED_EVENTS)  # W
        without = 1 - tf.eye(length, dtype=tf.int32)[length - looked_at :]  # [W, T]
        variants = tf.concat(
            [history[:, tf.newaxis, :], history[:, tf.newaxis, :] * without[tf.newaxis]], axis=1
        )  # [B, 1 + W, T]
        scores = self.score_items(tf.reshape(variants, [-1, length]))  # [B (1 + W), I]
        column = tf.repeat(item - 1, 1 + looked_at)  # [B (1 + W)]
        of_item = tf.reshape(tf.gather(scores, column, batch_dims=1), [batch, 1 + looked_at])  # [B, 1 + W]
        lost = of_item[:, :1] - of_item[:, 1:]  # [B, W]
        return tf.pad(lost, [[0, 0], [length - looked_at, 0]]) * tf.cast(history > 0, tf.float32)  # [B, T]

    def user_vectors(self, history: tf.Tensor) -> tf.Tensor:
        """What the model makes of a user, for `encode`.

        Args:
            history: int32 [B, T], as for `score_items`.

        Returns:
            float32 [B, H].
        """
        raise NotImplementedError(f"{type(self).__name__} has no user vectors")

    def embedder(self) -> Embedder | None:
        """The signature `embed_items`; None where the model does not look at items."""
        return None


class GradientRecommender(Recommender):
    """A recommender trained by gradient descent: it makes examples and has a loss, the training loop does the rest."""

    descends = True

    def epoch_ended(self) -> None:
        """Called when the steps of an epoch are done, before the model is asked for scores."""

    @abc.abstractmethod
    def examples(self, data: TrainingData, rng: np.random.Generator) -> Examples:
        """Training examples for one epoch.

        Args:
            data: Of users, [T] item numbers each, oldest first, T of 1 or more; and what else is known.
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
            float32 [], the mean over what is predicted, each weighing as its event does.
        """

    def learn(self, data: TrainingData, *, validation: Validation, seed: int, report: Report) -> Trained:
        """See `Recommender.learn`; done by `training.loop.fit`, or by what `fit_with` names."""
        from tastemaker_jobs.training.loop import fit  # the loop knows this class, so not at the top

        chosen: Fit = self.fit_with or fit
        return chosen(self, data, validation=validation, seed=seed, report=report)
