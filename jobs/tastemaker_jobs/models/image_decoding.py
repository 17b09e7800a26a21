"""Bytes of images as pixels, in stock TensorFlow ops, so that it goes into SavedModels. A broken image ends nothing."""

import tensorflow as tf

__all__ = ["decode_images"]


def decode_images(image: tf.Tensor, *, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode JPEG, PNG, GIF or BMP and bring all to one size.

    TensorFlow has no op that tries: one broken image fails the call of everyone in the batch. A data set that drops
    what fails is made of stock ops as well, works inside a graph, and tells by what is missing which ones were broken.

    Args:
        image: string [B], the bytes of a file each; "" for no image.
        height: H, of the result, in pixels.
        width: W.

    Returns:
        uint8 [B, H, W, 3], zeros where there is no image or a broken one; bool [B], whether there is one.
    """
    count = tf.cast(tf.shape(image)[0], tf.int64)
    nothing = tf.zeros([height, width, 3], tf.uint8)
    # Row B, with no image, is never dropped: a data set of no rows could not become a tensor.
    rows = tf.data.Dataset.from_tensor_slices((tf.range(count + 1), tf.concat([image, [""]], axis=0)))
    rows = rows.map(
        lambda row, data: (row, tf.cond(row < count, lambda: _decoded(data, height, width), lambda: nothing)),
        num_parallel_calls=2,
    )
    kept = rows.ignore_errors().batch(count + 1)
    number, pixels = kept.get_single_element()  # [M + 1], [M + 1, H, W, 3]
    shape = tf.stack([count + 1, height, width, 3])
    whole = tf.scatter_nd(number[:, tf.newaxis], pixels, shape)[:-1]  # [B, H, W, 3]
    present = tf.scatter_nd(number[:, tf.newaxis], tf.ones_like(number), [count + 1])[:-1] > 0  # [B]
    return tf.ensure_shape(whole, [None, height, width, 3]), present


def _decoded(data: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """One image, string [] to uint8 [H, W, 3]."""
    pixels = tf.io.decode_image(data, channels=3, expand_animations=False)  # [h, w, 3]
    pixels.set_shape([None, None, 3])
    fits = tf.reduce_all(tf.shape(pixels)[:2] == [height, width])
    resized = tf.cond(fits, lambda: pixels, lambda: _resized(pixels, height, width))
    return tf.ensure_shape(resized, [height, width, 3])


def _resized(pixels: tf.Tensor, height: int, width: int) -> tf.Tensor:
    smooth = tf.image.resize(tf.cast(pixels, tf.float32), [height, width], antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(smooth), 0, 255), tf.uint8)
