"""A learned blend of other models: one SavedModel, one call.

Each part scores all items; the blend weighs the parts by what kind of user asks (new, heavy, or in between) and makes
up for what a part cannot know of an item that nobody has touched. Parts are trained as they would be alone; the weights
are learnt from validation events, which no part has been trained on.

Source: stacking, Wolpert, "Stacked Generalization" (Neural Networks 1992); weights that depend on the user's segment as
in Sill et al., "Feature-Weighted Linear Stacking" (2009).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import tensorflow as tf

from tastemaker_jobs.errors import ConfigError
from tastemaker_jobs.models import model_class
from tastemaker_jobs.models.blending import BlendProblem, learn_weights
from tastemaker_jobs.models.recommender import Embedder, ModelConfig, Recommender
from tastemaker_jobs.models.search_space import Choice, Domain, LogUniform
from tastemaker_jobs.models.training_data import TrainingData
from tastemaker_jobs.models.unit_length import unit_length
from tastemaker_jobs.training.progress import Report, StageEvent
from tastemaker_jobs.training.request import Trained
from tastemaker_jobs.training.settings import config_of
from tastemaker_jobs.training.validation import Validation, score_function

__all__ = ["Hybrid", "HybridConfig"]


@dataclass(frozen=True)
class HybridConfig(ModelConfig):
    """Settings of the blend."""

    parts: tuple[str, ...] = ("transformer", "cnn", "rnn", "autoencoder", "ease", "content")
    """Models of the registry. `content` takes part only where there is a list of items."""
    part_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Part to settings in place of its defaults."""
    cold_user_events: int = 5
    """Who has at most so many known items is a cold user. 1 or more."""
    shrinkage: float = 1.0
    """How strongly a segment's weights are held to those of all users. Above 0."""

    @classmethod
    def _in_range(cls, name: str, value: Any) -> bool:
        if name == "part_settings":
            return all(isinstance(settings, Mapping) for settings in value.values())
        if name == "parts":
            return len(value) >= 1 and len(set(value)) == len(value) and "hybrid" not in value
        return super()._in_range(name, value)


class Hybrid(Recommender):
    """Parts' scores, each standardised per user over the items it knows, summed with weights of the user's segment."""

    name_in_registry = "hybrid"
    config_class = HybridConfig
    search_space: ClassVar[Mapping[str, Domain]] = {
        "cold_user_events": Choice((3, 5, 10, 20)),
        "shrinkage": LogUniform(0.1, 100.0),
    }
    descends = True

    def __init__(
        self, config: HybridConfig, *, item_count: int, seed: int, parts: Mapping[str, Recommender], heavy: int
    ) -> None:
        """Make the blend; until it has learnt, all parts weigh the same.

        Args:
            config: Settings.
            item_count: I.
            seed: Of the parts, which have it already.
            parts: Name to model, fresh. Each knows the first of the I items, or all.
            heavy: Who has at least so many known items is a heavy user.
        """
        super().__init__(config, item_count=item_count, seed=seed)
        self.part_names = tuple(parts)
        self.parts = list(parts.values())  # P of them
        self.heavy = heavy
        self.blend = self.add_weight(
            shape=(_SEGMENTS, len(parts)), initializer="ones", trainable=False, name="blend"
        )  # [S, P]
        self.stand_in = self.add_weight(
            shape=(len(parts),), initializer="ones", trainable=False, name="stand_in"
        )  # [P]

    @classmethod
    def looks_at_items(cls, config: HybridConfig, *, listed: bool) -> bool:
        """Where `content` takes part."""
        return listed and "content" in config.parts

    @classmethod
    def for_data(cls, config: HybridConfig, data: TrainingData, *, seed: int) -> Self:
        """The parts, fresh.

        Raises:
            ConfigError: There is no such part, or nothing is left of them.
            UnknownModelError: There is no model of that name.
        """
        if unused := sorted(config.part_settings.keys() - set(config.parts)):
            raise ConfigError(f"hybrid: part_settings has {', '.join(unused)}, which is no part of it.")
        trained, parts = data.trained_only(), {}
        for name in config.parts:
            kind = model_class(name)
            if kind.knows_untouched_items and data.features is None:
                continue
            part_config = config_of(kind, config.part_settings.get(name, {}))
            parts[name] = kind.for_data(part_config, data if kind.knows_untouched_items else trained, seed=seed)
        if not parts:
            raise ConfigError(
                "hybrid: content alone needs a list of items. Give one with --items, or name other parts."
            )
        lengths = sorted(len(history) for history in data.histories)
        heavy = max(config.cold_user_events + 1, lengths[len(lengths) * 3 // 4])
        return cls(config, item_count=data.item_count, seed=seed, parts=parts, heavy=heavy)

    def learn(self, data: TrainingData, *, validation: Validation, seed: int, report: Report) -> Trained:
        """Train each part, then the weights on the validation events."""
        began, trained = time.monotonic(), data.trained_only()
        epochs = 0
        for name, part in zip(self.part_names, self.parts, strict=True):
            report(StageEvent(name, "training, for hybrid"))
            part.fit_with = self.fit_with
            of_part = data if part.item_count == data.item_count else trained
            done = part.learn(of_part, validation=validation.among(part.item_count), seed=seed, report=report)
            epochs += done.epochs
        report(StageEvent("hybrid", "blending"))
        known_to_all = min(part.item_count for part in self.parts)
        problem = BlendProblem.of(
            validation.among(known_to_all),
            tf.function(self.part_scores),
            cold=self.config.cold_user_events,
            heavy=self.heavy,
            seed=seed,
        )
        if problem is not None:
            weights, stand_in = learn_weights(problem, shrinkage=self.config.shrinkage)
            self.blend.assign(weights)
            self.stand_in.assign(stand_in)
        ndcg = validation.ndcg(score_function(self))
        return Trained(epochs, epochs, ndcg, time.monotonic() - began)

    def score_items(self, history: tf.Tensor) -> tf.Tensor:
        """The weighted sum of the parts' standardised scores."""
        scores, known = self.part_scores(history)  # [B, P, I], [P, I]
        weights = tf.gather(tf.convert_to_tensor(self.blend), self._segment(history))  # [B, P]
        if self._content is None:
            return tf.einsum("bp,bpi->bi", weights, scores)
        # What a part would say of an item that it does not know, is guessed from what `content` says.
        guess = scores[:, self._content, tf.newaxis] * tf.convert_to_tensor(self.stand_in)[:, tf.newaxis]  # [B, P, I]
        return tf.einsum("bp,bpi->bi", weights, tf.where(known, scores, guess))

    def part_scores(self, history: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What each part says.

        Args:
            history: int32 [B, T].

        Returns:
            float32 [B, P, I], mean 0 and deviation 1 over the items that the part knows and the user does not have, 0
            for what the part does not know; and bool [P, I], which items it knows. A part that never learnt to score
            what a user has already says anything at all of those items: the scale must not follow that.
        """
        new = self._is_new(history)  # [B, I], 1 or 0
        scores, known = [], []
        for part in self.parts:
            count, missing = part.item_count, self.item_count - part.item_count
            found = part.score_items(tf.where(history <= count, history, 0))  # [B, count]
            share = new[:, :count] / tf.maximum(tf.reduce_sum(new[:, :count], axis=1, keepdims=True), 1)  # [B, count]
            centred = found - tf.reduce_sum(found * share, axis=1, keepdims=True)
            deviation = tf.sqrt(tf.reduce_sum(tf.square(centred) * share, axis=1, keepdims=True))  # [B, 1]
            scores.append(tf.pad(centred / tf.maximum(deviation, 1e-6), [[0, 0], [0, missing]]))  # [B, I]
            known.append(tf.range(self.item_count) < count)  # [I]
        return tf.stack(scores, axis=1), tf.stack(known)

    def _is_new(self, history: tf.Tensor) -> tf.Tensor:
        """float32 [B, I]: 0 for the items of int32 [B, T], 1 for the others."""
        rows = tf.repeat(tf.range(tf.shape(history)[0])[:, tf.newaxis], tf.shape(history)[1], axis=1)  # [B, T]
        cells = tf.stack([rows, history], axis=2)  # [B, T, 2]
        all_new = tf.ones([tf.shape(history)[0], self.item_count + 1])  # column 0 for nothing
        return tf.tensor_scatter_nd_update(all_new, cells, tf.zeros(tf.shape(history)))[:, 1:]

    def item_vectors(self) -> tf.Tensor:
        """The parts' vectors side by side, each of length 1, zeros where a part does not know an item."""
        vectors = [
            tf.pad(unit_length(part.item_vectors()), [[0, self.item_count - part.item_count], [0, 0]])
            for part in self.parts
        ]
        return tf.concat(vectors, axis=1)  # [I, the sum of the parts' D]

    def embedder(self) -> Embedder | None:
        """That of `content`, where it takes part."""
        return None if self._content is None else self.parts[self._content].embedder()

    @property
    def _content(self) -> int | None:
        """The place among the parts of the one that knows all items; None where all know the same."""
        places = [place for place, part in enumerate(self.parts) if type(part).knows_untouched_items]
        return places[0] if places else None

    def _segment(self, history: tf.Tensor) -> tf.Tensor:
        """int32 [B, T] to int32 [B]: 0 cold, 1 in between, 2 heavy."""
        count = tf.reduce_sum(tf.cast(history > 0, tf.int32), axis=1)  # [B]
        return tf.cast(count > self.config.cold_user_events, tf.int32) + tf.cast(count >= self.heavy, tf.int32)


_SEGMENTS = 3
