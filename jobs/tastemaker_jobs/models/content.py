"""Two towers: an item from its image, title and attributes; a user from the items of the history.

No item has an embedding of its own, so one that nobody has touched is on the same scale as all others, and one that
comes after training gets its vector from the signature `embed_items`. In training, images, titles and attributes go
missing at random, so that one of them missing for good does no harm.

Source: Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations" (RecSys 2019), for
two towers and the correction by log Q; Volkovs et al., "DropoutNet" (NeurIPS 2017), for dropping inputs in training.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import tensorflow as tf

from tastemaker_jobs.data.item_features import ItemFeatures
from tastemaker_jobs.errors import ConfigError
from tastemaker_jobs.models.histories import newest_items
from tastemaker_jobs.models.image_decoding import decode_images
from tastemaker_jobs.models.image_encoder import ImageEncoder, ImageShape
from tastemaker_jobs.models.image_weights import load_encoder_weights
from tastemaker_jobs.models.item_inputs import ItemInputs
from tastemaker_jobs.models.item_text import attribute_pieces, title_pieces
from tastemaker_jobs.models.recommender import Embedder, Examples, GradientConfig, GradientRecommender
from tastemaker_jobs.models.search_space import Choice, Domain, LogUniform, Uniform
from tastemaker_jobs.models.towers import ItemTower, UserTower
from tastemaker_jobs.models.training_data import TrainingData

__all__ = ["Content", "ContentConfig"]

_CHUNK = 256  # images at a time


@dataclass(frozen=True)
class ContentConfig(GradientConfig):
    """Settings of the two towers."""

    epochs: int = 20
    """Passes over the training data at most. 1 or more."""
    patience_epochs: int = 5
    """Training stops after this many epochs without a better validation score. 1 or more."""
    batch_size: int = 256
    """Moments of users' histories per step. 1 or more."""
    learning_rate: float = 3e-3
    """Adam's step size. Above 0."""
    embedding_size: int = 64
    """D, of item and user vectors. 2 or more: one of them is the item's popularity."""
    hidden_size: int = 128
    """Of the layer in each tower. 1 or more."""
    max_history: int = 300
    """L: how many of the newest items the user's tower looks at. 1 or more."""
    targets: int = 10
    """M: how many of the next items each moment is to predict. 1 or more."""
    piece_size: int = 32
    """Of what is learnt of a piece of a title or an attribute. 1 or more."""
    buckets: int = 8192
    """How many different pieces there can be; more collide less. 1 or more."""
    image_dropout: float = 0.8
    """Share of the images that training hides. 0 to 1."""
    title_dropout: float = 0.8
    """Share of the titles that training hides: one is nearly the item's name, which does not help new ones. 0 to 1."""
    attributes_dropout: float = 0.1
    """Share of the items whose attributes training hides. 0 to 1."""
    shuffled: float = 1.0
    """Share of the users whose events each epoch takes in random order: they teach taste, the others what comes next.

    Above 0, up to 1."""
    dropout: float = 0.2
    """Share of hidden values that training drops. 0 to 1."""
    image_height: int = 48
    """H: images are brought to this size. 1 or more."""
    image_width: int = 32
    """W, likewise. 1 or more."""
    image_filters: tuple[int, ...] = (16, 32, 64)
    """Of each convolution of the image encoder."""
    image_size: int = 64
    """Of what the encoder makes of an image. 1 or more."""
    image_encoder: str = ""
    """A version of `image_cnn` to start the encoder from; its settings must be those above. "": from nothing."""
    images_per_step: int = 64
    """How many images each step learns from; of the others it takes what it last saw. 1 or more."""
    full_softmax_items: int = 20_000
    """Up to so many trained items all compete in the loss; of more, those of the batch, corrected by log Q."""

    @property
    def image_shape(self) -> ImageShape:
        """Of the encoder."""
        return ImageShape(self.image_filters, self.image_size, self.image_height, self.image_width, True, True)


class Content(GradientRecommender):
    """Item vectors [I, D] by the item's tower, a user vector [D] of history vectors at several ages, dot product."""

    name_in_registry = "content"
    config_class = ContentConfig
    search_space: ClassVar[Mapping[str, Domain]] = {
        "attributes_dropout": Uniform(0.0, 0.5),
        "dropout": Uniform(0.0, 0.5),
        "embedding_size": Choice((32, 64, 128)),
        "learning_rate": LogUniform(1e-3, 1e-2),
    }
    knows_untouched_items = True
    encodes = True

    def __init__(self, config: ContentConfig, *, item_count: int, seed: int) -> None:
        super().__init__(config, item_count=item_count, seed=seed)
        sizes: dict[str, Any] = {
            "hidden_size": config.hidden_size,
            "size": config.embedding_size,
            "dropout": config.dropout,
        }
        self.images = ImageEncoder(config.image_shape, seed=seed * 64)
        self.items = ItemTower(
            buckets=config.buckets,
            piece_size=config.piece_size,
            image_size=config.image_size,
            hidden=(config.image_dropout, config.title_dropout, config.attributes_dropout),
            seed=seed * 64 + 32,
            **sizes,
        )
        self.users = UserTower(seed=seed * 64 + 48, **sizes)
        self.vectors = self.add_weight(
            shape=(item_count, config.embedding_size), initializer="zeros", trainable=False, name="vectors"
        )  # [I, D], what the item's tower made of all items when the last epoch ended; what serves
        if config.image_encoder:
            _start_from(self.images, Path(config.image_encoder))

    @classmethod
    def for_data(cls, config: Any, data: TrainingData, *, seed: int) -> Self:
        """A model with what it needs to learn: the items' features, and how often each item was trained on."""
        model = cls(config, item_count=data.item_count, seed=seed)
        features = data.features or ItemFeatures((), (), (), ()).in_order(data.vocabulary.item_ids)
        model.inputs = ItemInputs.of(
            features, height=config.image_height, width=config.image_width, buckets=config.buckets
        )
        counts = np.bincount(np.concatenate(data.histories), minlength=data.item_count + 1)[1:]  # [I]
        model.trained = np.flatnonzero(counts).astype(np.int32)  # [I'], rows of the items that have events
        model.share = (counts / counts.sum()).astype(np.float32)  # [I], of all events
        # Which images a step learns from goes round; of the others it takes what was last seen of them.
        model.illustrated = np.intersect1d(model.trained, np.flatnonzero(model.inputs.has_image)).astype(np.int32)
        model.turn = tf.Variable(0, trainable=False)
        model.looks = tf.Variable(tf.zeros([data.item_count, config.image_size]), trainable=False)  # [I, E]
        model.epoch_ended()
        return model

    def examples(self, data: TrainingData, rng: np.random.Generator) -> Examples:
        """Moments: the newest L items before, and the next M. Each event is a target once an epoch; the cuts differ."""
        length, ahead = self.config.max_history, self.config.targets
        rows: dict[str, list[Any]] = {"history": [], "target": [], "weight": []}
        for of_user in zip(data.histories, data.weights, strict=True):
            history, weight = of_user
            if rng.random() < self.config.shuffled:
                order = rng.permutation(len(history))
                history, weight = history[order], weight[order]
            cuts = [0, *range(int(rng.integers(1, ahead + 1)), len(history), ahead), len(history)]
            for start, end in pairwise(cuts):
                before = history[max(0, start - length) : start]
                missing = (0, ahead - (end - start))
                rows["history"].append(np.pad(before, (length - len(before), 0)))
                rows["target"].append(np.pad(history[start:end], missing))
                rows["weight"].append(np.pad(weight[start:end], missing))
        return {name: np.stack(found) for name, found in rows.items()}  # [N, L], [N, M], [N, M]

    def training_loss(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Cross-entropy of each of the next items, over all trained items or those of the batch."""
        rows, log_chance = self._competitors(batch)  # [C], [C]
        vectors = self._vectors(rows, training=True)  # [C, D]
        numbers = tf.range(1, tf.shape(rows)[0] + 1)  # [C]
        place = tf.scatter_nd(rows[:, tf.newaxis] + 1, numbers, [self.item_count + 1])  # [I + 1], 0 for nothing
        user = self.users(vectors, tf.gather(place, batch["history"]), training=True)  # [B, D]
        logits = tf.matmul(user, vectors, transpose_b=True) - log_chance  # [B, C]
        target = tf.maximum(tf.gather(place, batch["target"]) - 1, 0)  # [B, M]
        gain = tf.gather(tf.nn.log_softmax(logits), target, batch_dims=1) * batch["weight"]  # [B, M]
        return -tf.math.divide_no_nan(tf.reduce_sum(gain), tf.reduce_sum(batch["weight"]))

    def score_items(self, history: tf.Tensor) -> tf.Tensor:
        """Scores by the stored item vectors: the item's tower is not run."""
        return tf.matmul(self.user_vectors(history), self.item_vectors(), transpose_b=True)  # [B, I]

    def user_vectors(self, history: tf.Tensor) -> tf.Tensor:
        """User vectors [B, D]: the dot product with an item's embedding is its score."""
        return self.users(self.item_vectors(), newest_items(history, self.config.max_history))

    def item_vectors(self) -> tf.Tensor:
        """What `embed_items` makes of each item's features."""
        return tf.convert_to_tensor(self.vectors)  # [I, D]

    def embedder(self) -> Embedder:
        """The item's tower on raw features."""
        image, title = (tf.TensorSpec([None], tf.string, name) for name in ("image", "title"))
        return Embedder(self.embed, (image, title, tf.TensorSpec([None, None], tf.string, "attributes")))

    def embed(self, image: tf.Tensor, title: tf.Tensor, attributes: tf.Tensor) -> tf.Tensor:
        """Vectors of items that need not be known.

        Args:
            image: string [B], bytes of a JPEG or PNG file; "" for none; a broken one counts as none.
            title: string [B]; "" for none.
            attributes: string [B, A], "column=value" as training had them, padded with "".

        Returns:
            float32 [B, D].
        """
        config = self.config
        pixels, present = decode_images(image, height=config.image_height, width=config.image_width)
        pieces = title_pieces(title, buckets=config.buckets), attribute_pieces(attributes, buckets=config.buckets)
        return self.items(self.images(pixels), present, *pieces)

    def epoch_ended(self) -> None:
        """The item vectors anew, nothing hidden."""
        for start in range(0, self.item_count, _CHUNK):
            rows = tf.range(start, min(start + _CHUNK, self.item_count))  # [C]
            looks = self.images(tf.gather(self.inputs.pixels, rows))  # [C, E]
            self.looks.scatter_nd_update(rows[:, tf.newaxis], looks)
        self.vectors.assign(self._vectors(tf.range(self.item_count), training=False))

    def _competitors(self, batch: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Rows of the items that a step looks at, int32 [C], and the log of the chance of each to be there [C]."""
        if len(self.trained) <= self.config.full_softmax_items:
            return tf.constant(self.trained), tf.zeros([len(self.trained)])
        events = tf.concat([tf.reshape(batch[name], [-1]) for name in ("history", "target")], axis=0)
        events = tf.boolean_mask(events, events > 0) - 1
        rows = tf.sort(tf.unique(events).y)  # [C]
        misses = tf.math.log1p(-tf.gather(self.share, rows)) * tf.cast(tf.size(events), tf.float32)  # [C]
        return rows, tf.math.log(-tf.math.expm1(misses))

    def _vectors(self, rows: tf.Tensor, *, training: bool) -> tf.Tensor:
        """Of known items [C], by row: float32 [C, D]. In training a few images are looked at anew, and learnt from."""
        looks = tf.convert_to_tensor(self.looks)  # [I, E]
        if training and len(self.illustrated):
            count = min(self.config.images_per_step, len(self.illustrated))
            chosen = tf.gather(self.illustrated, (self.turn + tf.range(count)) % len(self.illustrated))  # [S]
            fresh = self.images(tf.gather(self.inputs.pixels, chosen), training=True)  # [S, E]
            looks = tf.tensor_scatter_nd_update(looks, chosen[:, tf.newaxis], fresh)
            self.looks.assign(tf.stop_gradient(looks))
            self.turn.assign((self.turn + count) % len(self.illustrated))
        found = [tf.gather(known, rows) for known in (self.inputs.has_image, self.inputs.title, self.inputs.attributes)]
        return self.items(tf.gather(looks, rows), *found, training=training)


def _start_from(encoder: ImageEncoder, version: Path) -> None:
    """Give an encoder the weights that a version of `image_cnn` has.

    Raises:
        ConfigError: There is no such version, or its encoder is of another shape.
    """
    try:
        encoder.set_weights(load_encoder_weights(version))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ConfigError(
            f"image_encoder: {version} has no encoder of this shape ({str(error).splitlines()[0]}). Give a version's"
            " folder, and image_filters and image_size as it was trained with, batch_norm and average_pool on."
        ) from error
