"""The score that early stopping of an image classifier follows: its accuracy on held-out images."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tastemaker_jobs.models.image_cnn import ImageCnn, Pictures

__all__ = ["ImageValidation", "teller"]

_BATCH = 256


class ImageValidation:
    """The share of some images whose most probable class is the right one."""

    measure = "accuracy"
    """What it measures."""

    def __init__(self, held_out: Pictures) -> None:
        self._held_out = held_out

    def __len__(self) -> int:
        return len(self._held_out)

    def part(self, number: int, parts: int) -> "ImageValidation":
        """Every so-manieth image, so that workers can share them.

        Args:
            number: Which part, from 0.
            parts: Of how many.
        """
        whole = self._held_out
        return ImageValidation(Pictures(whole.pixels[number::parts], whole.labels[number::parts], whole.class_count))

    def scorer(self, model: Any) -> Callable[[], float]:
        """The model's accuracy as it is at each call; NaN without images.

        Args:
            model: An `ImageCnn`.
        """
        tell, held_out = teller(model), self._held_out

        def score() -> float:
            if not len(held_out):
                return float("nan")
            return float((tell(held_out.pixels) == held_out.labels).mean())

        return score


def teller(model: ImageCnn) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.int32]]:
    """Tells the most probable class of each image, as the model is at each call: uint8 [N, H, W, 3] to [N]."""
    shape = (model.config.height, model.config.width, 3)
    predict = tf.function(
        lambda batch: tf.argmax(model.logits(batch), axis=1, output_type=tf.int32),
        input_signature=[tf.TensorSpec([None, *shape], tf.uint8)],
    )

    def tell(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        starts = range(0, len(pixels), _BATCH)
        return np.concatenate([predict(tf.constant(pixels[start : start + _BATCH])).numpy() for start in starts])

    return tell
