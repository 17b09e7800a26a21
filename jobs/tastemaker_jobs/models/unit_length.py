"""Vectors of length 1 for cosines."""

import tensorflow as tf

__all__ = ["unit_length"]


def unit_length(vectors: tf.Tensor) -> tf.Tensor:
    """Each vector divided by its length; zeros stay.

    Divided, as what `tf.math.l2_normalize` multiplies by is rounded in another way for the vectors that do not fill a
    register of the processor: equal vectors would differ by a bit, and what is ranked by them come in another order on
    each machine.

    Args:
        vectors: float32 [N, D].

    Returns:
        float32 [N, D].
    """
    return tf.math.divide_no_nan(vectors, tf.norm(vectors, axis=1, keepdims=True))
