"""Titles and attributes as numbers, in stock TensorFlow ops, so that it goes into SavedModels. Nothing is fitted.

A piece of text is known by its hash: what was never trained on has a number like anything else, and no table to save.
"""

import tensorflow as tf

__all__ = ["attribute_pieces", "title_pieces"]

_STEM = 5  # characters


def title_pieces(title: tf.Tensor, *, buckets: int) -> tf.Tensor:
    """A title's words, and the beginnings of the longer ones, so that "warriors" is near "warrior".

    Args:
        title: string [B], UTF-8; "" for none.
        buckets: How many numbers there are.

    Returns:
        int32 [B, P], 1 to `buckets`, zeros at the right; P is that of the longest title.
    """
    plain = tf.strings.regex_replace(tf.strings.lower(title, "utf-8"), r"[^\pL\pN]+", " ")
    words = tf.strings.split(plain)  # [B, ragged]
    stems = tf.ragged.map_flat_values(
        lambda word: tf.where(
            tf.strings.length(word, "UTF8_CHAR") > _STEM,
            tf.strings.join([tf.strings.substr(word, 0, _STEM, "UTF8_CHAR"), "-"]),
            "",
        ),
        words,
    )  # [B, ragged]
    pieces = tf.concat([words.to_tensor(""), stems.to_tensor("")], axis=1)  # [B, P]
    return _numbers(pieces, buckets)


def attribute_pieces(attributes: tf.Tensor, *, buckets: int) -> tf.Tensor:
    """Attributes, and of those that end in digits also all that differ in the last one: "year=1995" is "year=199_" too.

    Args:
        attributes: string [B, A], "column=value", padded with "".
        buckets: How many numbers there are.

    Returns:
        int32 [B, 2 A], 1 to `buckets`, 0 where there is nothing.
    """
    coarse = tf.strings.regex_replace(attributes, r"\d$", "_")  # [B, A]
    coarse = tf.where(coarse == attributes, "", coarse)
    return _numbers(tf.concat([attributes, coarse], axis=1), buckets)


def _numbers(pieces: tf.Tensor, buckets: int) -> tf.Tensor:
    number = tf.cast(tf.strings.to_hash_bucket_fast(pieces, buckets), tf.int32) + 1
    return tf.where(pieces == "", 0, number)
