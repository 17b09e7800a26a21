"""What an image shows: a small convolutional network that classifies images, and gives embeddings to other models.

Not a recommender, as it knows no histories: it learns from labelled images and has signatures of its own.

Source of the preset `seed`: TensorFlow's tutorial "Convolutional Neural Network (CNN)". The default adds batch
normalisation (Ioffe and Szegedy, 2015), a mean over places in place of the flattened map (Lin et al., "Network In
Network", 2013), label smoothing (Szegedy et al., 2015), flips and shifts, and a cosine schedule (Loshchilov and Hutter,
2017), in larger batches, which pay for them: an epoch costs the same processor time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tensorflow as tf

from tastemaker_jobs.models.image_encoder import ImageEncoder, ImageShape
from tastemaker_jobs.models.recommender import Examples, GradientConfig

__all__ = ["ImageCnn", "ImageCnnConfig", "Pictures"]


@dataclass(frozen=True)
class ImageCnnConfig(GradientConfig):
    """Settings of the image classifier. `preset` chooses the values of those that are not given."""

    preset: str = "default"
    """`default`, or `seed`: Conv 32-64-64, Dense 64, Adam, and nothing else."""
    epochs: int = 10
    """Passes over the training data at most. 1 or more."""
    batch_size: int = 128
    """Images per step. 1 or more."""
    learning_rate: float = 4e-3
    """Adam's step size at the start. Above 0."""
    final_rate_share: float = 0.01
    """What is left of it at the end. Above 0; 1 keeps it."""
    height: int = 32
    """H: images are brought to this size. 1 or more."""
    width: int = 32
    """W, likewise. 1 or more."""
    filters: tuple[int, ...] = (32, 64, 128)
    """Of each convolution, 3 x 3."""
    embedding_size: int = 128
    """D, of the dense layer. 1 or more."""
    batch_norm: bool = True
    """Whether a batch norm follows each convolution and the dense layer."""
    average_pool: bool = True
    """Whether the dense layer sees the mean over all places of the last convolution, not each place."""
    dropout: float = 0.1
    """Share of the embedding that training drops. 0 to 1."""
    label_smoothing: float = 0.05
    """Share of the probability that training spreads over all classes. 0 or more, below 1."""
    flip: bool = True
    """Whether training mirrors half of the images. Wrong where left and right differ in meaning, as for letters."""
    shift_pixels: int = 2
    """Training moves images by up to this, each way. 0 or more."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {},
        "seed": {
            "batch_size": 32,
            "learning_rate": 1e-3,
            "final_rate_share": 1.0,
            "clip_norm": 1e9,
            "filters": (32, 64, 64),
            "embedding_size": 64,
            "batch_norm": False,
            "average_pool": False,
            "dropout": 0.0,
            "label_smoothing": 0.0,
            "flip": False,
            "shift_pixels": 0,
        },
    }

    @classmethod
    def _in_range(cls, name: str, value: Any) -> bool:
        if name == "preset":
            return value in cls.presets
        if name == "filters":
            return bool(value) and all(isinstance(size, int) and size >= 1 for size in value)
        if name in ("label_smoothing", "shift_pixels"):
            return bool(value >= 0 and (value < 1 or name == "shift_pixels"))
        return super()._in_range(name, value)

    @property
    def shape(self) -> ImageShape:
        """Of the encoder."""
        return ImageShape(
            self.filters, self.embedding_size, self.height, self.width, self.batch_norm, self.average_pool
        )


@dataclass(frozen=True)
class Pictures:
    """N labelled images in memory, decoded."""

    pixels: npt.NDArray[np.uint8]
    """[N, H, W, 3]."""
    labels: npt.NDArray[np.int32]
    """[N] class numbers, from 0."""
    class_count: int
    """K: there may be classes without an image."""
    unit: ClassVar[str] = "images"
    """What a row is."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """How much work each image is, [N]: all alike."""
        return np.ones(len(self), np.int64)

    def columns(self, rows: Sequence[int]) -> dict[str, Any]:
        """Images as columns of a table; `with_columns` takes them back.

        Args:
            rows: Which images.
        """
        return {"pixels": [self.pixels[row].tobytes() for row in rows], "label": self.labels[rows]}

    def without_rows(self) -> "Pictures":
        """What a worker must know besides its images."""
        return Pictures(self.pixels[:0], self.labels[:0], self.class_count)

    def with_columns(self, columns: Mapping[str, Sequence[pa.Scalar]]) -> "Pictures":
        """These images in place of those that it has.

        Args:
            columns: Of `columns`, each a value per image.
        """
        pixels = np.frombuffer(b"".join(value.as_py() for value in columns["pixels"]), np.uint8)
        labels = np.array([value.as_py() for value in columns["label"]], np.int32)
        return Pictures(pixels.reshape(len(labels), *self.pixels.shape[1:]), labels, self.class_count)


class ImageCnn(keras.Model):
    """The encoder [B, D], and a dense layer to the logits of K classes [B, K]."""

    name_in_registry = "image_cnn"
    config_class = ImageCnnConfig

    def __init__(self, config: ImageCnnConfig, *, class_count: int, seed: int) -> None:
        """Make the weights.

        Args:
            config: Settings.
            class_count: K, 2 or more.
            seed: Initial weights and dropout follow from it.
        """
        super().__init__()
        self.config = config
        self.class_count = class_count
        self.encoder = ImageEncoder(config.shape, seed=seed * 32)
        self.dropout = keras.layers.Dropout(config.dropout, seed=seed * 32 + 30)
        self.classifier = keras.layers.Dense(
            class_count, kernel_initializer=keras.initializers.GlorotUniform(seed * 32 + 31)
        )
        self.dropout.build((None, config.embedding_size))
        self.classifier.build((None, config.embedding_size))
        self.built = True

    @classmethod
    def for_data(cls, config: ImageCnnConfig, data: Pictures, *, seed: int) -> "ImageCnn":
        """A fresh one for the classes of some images; see the constructor."""
        return cls(config, class_count=data.class_count, seed=seed)

    def epoch_ended(self) -> None:
        """Nothing is derived from the weights."""

    def examples(self, data: Pictures, rng: np.random.Generator) -> Examples:
        """Every image, and how this epoch moves it."""
        count, reach = len(data.labels), self.config.shift_pixels
        return {
            "pixels": data.pixels,
            "label": data.labels,
            "mirrored": rng.random(count) < (0.5 if self.config.flip else 0.0),  # [N]
            "shift": rng.integers(-reach, reach + 1, (count, 2), dtype=np.int32),  # [N, 2], down and right
        }

    def training_loss(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Cross-entropy of the labels, smoothed; dropout and batch statistics on. float32 []."""
        embedded = self.encoder(self._moved(batch), training=True)  # [B, D]
        logits = self.classifier(self.dropout(embedded, training=True))  # [B, K]
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=batch["label"], logits=logits)  # [B]
        if smoothing := self.config.label_smoothing:
            spread = tf.reduce_mean(tf.reduce_logsumexp(logits, axis=1, keepdims=True) - logits, axis=1)  # [B]
            loss = (1 - smoothing) * loss + smoothing * spread
        return tf.reduce_mean(loss)

    def logits(self, pixels: tf.Tensor) -> tf.Tensor:
        """Of pixels uint8 [B, H, W, 3], dropout off: float32 [B, K]."""
        return self.classifier(self.encoder(pixels))

    def _moved(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Pixels [B, H, W, 3] mirrored and shifted; the edge is repeated where the image leaves a gap."""
        pixels, height, width = batch["pixels"], self.config.height, self.config.width
        if self.config.shift_pixels or self.config.flip:
            down = tf.range(height) + batch["shift"][:, :1]  # [B, H]
            right = tf.range(width) + batch["shift"][:, 1:]  # [B, W]
            right = tf.where(batch["mirrored"][:, tf.newaxis], width - 1 - right, right)  # [B, W]
            place = tf.clip_by_value(down, 0, height - 1)[:, :, tf.newaxis] * width
            place += tf.clip_by_value(right, 0, width - 1)[:, tf.newaxis, :]  # [B, H, W]
            flat = tf.reshape(pixels, [-1, height * width, 3])  # [B, H W, 3]
            pixels = tf.gather(flat, place, batch_dims=1)  # [B, H, W, 3]
        return pixels
