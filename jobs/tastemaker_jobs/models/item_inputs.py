"""What a model sees of the items: features as arrays, made by the same ops that its SavedModel has for new items."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tastemaker_jobs.data.item_features import ItemFeatures
from tastemaker_jobs.models.image_decoding import decode_images
from tastemaker_jobs.models.item_text import attribute_pieces, title_pieces

__all__ = ["ItemInputs"]

_CHUNK = 256  # images at a time


@dataclass(frozen=True)
class ItemInputs:
    """I items, all in memory: mostly their pixels, I H W 3 bytes."""

    pixels: npt.NDArray[np.uint8]
    """[I, H, W, 3], zeros where there is no image."""
    has_image: npt.NDArray[np.bool_]
    """[I]; False too where the file is broken."""
    title: npt.NDArray[np.int32]
    """[I, P] of `title_pieces`."""
    attributes: npt.NDArray[np.int32]
    """[I, 2 A] of `attribute_pieces`."""

    @classmethod
    def of(cls, features: ItemFeatures, *, height: int, width: int, buckets: int) -> "ItemInputs":
        """Read the images and number the texts.

        Args:
            features: Of I items.
            height: H, that images are brought to.
            width: W, likewise.
            buckets: Of `title_pieces` and `attribute_pieces`.
        """
        count = len(features)
        pixels = np.zeros((count, height, width, 3), np.uint8)  # [I, H, W, 3]
        has_image = np.zeros(count, np.bool_)  # [I]
        for start in range(0, count, _CHUNK):
            part = slice(start, start + _CHUNK)
            files = tf.constant([path.read_bytes() if path else b"" for path in features.images[part]])
            pixels[part], has_image[part] = (
                found.numpy() for found in decode_images(files, height=height, width=width)
            )
        most = max(1, *(len(found) for found in features.attributes)) if count else 1
        attributes = [[*found, *[""] * (most - len(found))] for found in features.attributes]  # [I, A]
        return cls(
            pixels,
            has_image,
            title_pieces(tf.constant(list(features.titles), tf.string), buckets=buckets).numpy(),
            attribute_pieces(tf.constant(attributes, tf.string), buckets=buckets).numpy(),
        )
