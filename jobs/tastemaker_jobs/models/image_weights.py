"""The weights of an encoder out of a published version of `image_cnn`, for models that start from them."""

from pathlib import Path
from typing import Any

import numpy.typing as npt
import tensorflow as tf

__all__ = ["load_encoder_weights"]


def load_encoder_weights(version: Path) -> list[npt.NDArray[Any]]:
    """The weights of a version's encoder, as `ImageEncoder.get_weights` has them.

    Raises:
        ValueError, OSError, tf.errors.OpError: There are none.
    """
    checkpoint = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    names = [name for name in checkpoint.get_variable_to_shape_map() if name.startswith("encoder_variables/")]
    return [checkpoint.get_tensor(name) for name in sorted(names, key=lambda name: int(name.split("/")[1]))]
