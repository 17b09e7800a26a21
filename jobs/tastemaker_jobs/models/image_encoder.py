"""The convolutions that look at an image: of `image_cnn`, and of `content`, which looks at items through them."""

from dataclasses import dataclass

import keras
import tensorflow as tf

from tastemaker_jobs.errors import ConfigError

__all__ = ["ImageEncoder", "ImageShape"]


@dataclass(frozen=True)
class ImageShape:
    """What an encoder is made of."""

    filters: tuple[int, ...]
    """Of each convolution, 3 x 3; a max-pool of 2 x 2 stands between two of them."""
    embedding_size: int
    """D, of the dense layer at the end."""
    height: int
    """H, in pixels."""
    width: int
    """W, in pixels."""
    batch_norm: bool
    """Whether a batch norm follows each convolution and the dense layer."""
    average_pool: bool
    """What the dense layer sees of the last convolution: the mean over all places, or each place."""

    def __post_init__(self) -> None:
        """Refuse what leaves no pixel.

        Raises:
            ConfigError: The image is too small for so many convolutions.
        """
        height, width = self.height, self.width
        for number, _ in enumerate(self.filters):
            height, width = (height - 2, width - 2) if number == 0 else (height // 2 - 2, width // 2 - 2)
        if min(height, width) < 1:
            raise ConfigError(
                f"An image of {self.height} x {self.width} pixels is too small for {len(self.filters)} convolutions."
                " Give fewer filters or a larger height and width."
            )


class ImageEncoder(keras.Model):
    """Pixels [B, H, W, 3] to an embedding [B, D]: Conv-Pool, ..., Conv, Dense."""

    def __init__(self, shape: ImageShape, *, seed: int) -> None:
        """Make the weights.

        Args:
            shape: Sizes.
            seed: Of the initial weights; as many seeds from this one on are used as there are layers.
        """
        super().__init__()
        self.shape = shape
        activation = None if shape.batch_norm else "relu"
        layers: list[keras.Layer] = [keras.layers.Rescaling(1 / 255)]
        for number, filters in enumerate(shape.filters):
            kernel = keras.initializers.HeUniform(seed + number) if shape.batch_norm else _glorot(seed + number)
            layers.append(
                keras.layers.Conv2D(
                    filters,
                    3,
                    activation=activation,
                    use_bias=not shape.batch_norm,
                    kernel_initializer=kernel,
                )
            )
            if number < len(shape.filters) - 1:
                layers.append(keras.layers.MaxPooling2D())
            if shape.batch_norm:  # after the pool, which commutes with it and leaves a quarter of the work
                layers += [keras.layers.BatchNormalization(momentum=0.9), keras.layers.ReLU()]
        layers.append(keras.layers.GlobalAveragePooling2D() if shape.average_pool else keras.layers.Flatten())
        layers.append(
            keras.layers.Dense(
                shape.embedding_size,
                activation=activation,
                use_bias=not shape.batch_norm,
                kernel_initializer=_glorot(seed + len(shape.filters)),
            )
        )
        if shape.batch_norm:
            layers += [keras.layers.BatchNormalization(momentum=0.9), keras.layers.ReLU()]
        self.steps = layers
        size: tuple[int | None, ...] = (None, shape.height, shape.width, 3)
        for layer in layers:
            layer.build(size)
            size = layer.compute_output_shape(size)
        self.built = True

    def call(self, pixels: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Embeddings.

        Args:
            pixels: uint8 or float32 [B, H, W, 3], 0 to 255.
            training: Whether batch norms take the batch's own statistics.

        Returns:
            float32 [B, D], 0 or more.
        """
        count = tf.shape(pixels)[0]
        # oneDNN's convolutions give a wrong shape for no image at all: then there is one, which nobody sees.
        pixels = tf.pad(pixels, [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        values = tf.cast(pixels, tf.float32)  # [B, H, W, 3]
        for layer in self.steps:
            is_norm = isinstance(layer, keras.layers.BatchNormalization)
            values = layer(values, training=training) if is_norm else layer(values)
        return values[:count]  # [B, D]


def _glorot(seed: int) -> keras.initializers.Initializer:
    return keras.initializers.GlorotUniform(seed)
