"""Histories as tensors: zeros out of the way, the newest part alone."""

import tensorflow as tf

__all__ = ["newest_items"]


def newest_items(history: tf.Tensor, length: int) -> tf.Tensor:
    """The newest known items, closed up and left-padded to a fixed length.

    So neither the amount of padding nor unknown items in between can change what a sequence model computes.

    Args:
        history: int32 [B, T], oldest first, zeros anywhere; T may be 0.
        length: L.

    Returns:
        int32 [B, L], zeros only at the left.
    """
    padded = tf.pad(history, [[0, 0], [length, 0]])  # [B, L + T]
    known_first = tf.argsort(tf.cast(padded > 0, tf.int32), axis=1, stable=True)  # [B, L + T], zeros at the left
    newest = known_first[:, -length:]  # [B, L]
    return tf.ensure_shape(tf.gather(padded, newest, batch_dims=1), [None, length])  # [B, L]
