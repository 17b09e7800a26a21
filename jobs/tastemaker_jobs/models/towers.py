"""The two towers of `content`: from what is known of an item, and from a history of item vectors, to vectors."""

import keras
import numpy as np
import tensorflow as tf

__all__ = ["ItemTower", "UserTower"]

_HALF_LIVES = (1.0, 5.0, 25.0, 250.0)


class ItemTower(keras.Model):
    """What an image looks like [B, E], a title [B, P] and attributes [B, A] to a vector [B, D]."""

    def __init__(
        self,
        *,
        buckets: int,
        piece_size: int,
        image_size: int,
        hidden_size: int,
        size: int,
        hidden: tuple[float, float, float],
        dropout: float,
        seed: int,
    ) -> None:
        """Make the weights.

        Args:
            buckets: How many pieces of text there can be.
            piece_size: S, of what is learnt of a piece.
            image_size: E.
            hidden_size: Of the layer in between.
            size: D.
            hidden: Shares of images, titles and attributes that training hides.
            dropout: Share of hidden values that training drops.
            seed: As many seeds from this one on are used as there are random parts.
        """
        super().__init__()
        glorot = keras.initializers.GlorotUniform
        # Zeros: a piece that training never saw adds nothing, rather than noise.
        self.title = keras.layers.Embedding(buckets + 1, piece_size, embeddings_initializer="zeros")
        self.attributes = keras.layers.Embedding(buckets + 1, piece_size, embeddings_initializer="zeros")
        self.image = keras.layers.Dense(piece_size, kernel_initializer=glorot(seed))
        self.middle = keras.layers.Dense(hidden_size, "relu", kernel_initializer=glorot(seed + 1))
        self.out = keras.layers.Dense(size, kernel_initializer=glorot(seed + 2))
        self.straight = keras.layers.Dense(size, use_bias=False, kernel_initializer=glorot(seed + 7))
        self.hide = [keras.layers.Dropout(share, seed=seed + 3 + place) for place, share in enumerate(hidden)]
        self.dropout = keras.layers.Dropout(dropout, seed=seed + 6)
        self.title.build((None, None))
        self.attributes.build((None, None))
        self.image.build((None, image_size))
        self.middle.build((None, 3 * piece_size + 3))
        self.straight.build((None, 3 * piece_size + 3))
        self.out.build((None, hidden_size))
        self.built = True

    def call(
        self, looks: tf.Tensor, has_image: tf.Tensor, title: tf.Tensor, attributes: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Item vectors.

        Args:
            looks: float32 [B, E], what an encoder makes of the image; anything where there is none.
            has_image: bool [B].
            title: int32 [B, P], pieces from 1, zeros for nothing.
            attributes: int32 [B, A], likewise.
            training: Whether parts are hidden and values dropped.

        Returns:
            float32 [B, D].
        """
        known = [has_image, tf.reduce_any(title > 0, axis=1), tf.reduce_any(attributes > 0, axis=1)]  # [B] each
        masks = [tf.cast(present, tf.float32)[:, tf.newaxis] for present in known]  # [B, 1] each
        if training:
            masks = [
                tf.cast(hide(mask, training=True) > 0, tf.float32) for hide, mask in zip(self.hide, masks, strict=True)
            ]
        parts = [self.image(looks), _mean(self.title, title), _mean(self.attributes, attributes)]  # [B, S] each
        there = [part * mask for part, mask in zip(parts, masks, strict=True)]
        # The masks say what is missing, so that the next layer's weights for them are what stands in for it.
        parts_and_masks = tf.concat([*there, *masks], axis=1)  # [B, 3 S + 3]
        middle = self.middle(parts_and_masks)  # [B, hidden_size]
        return self.straight(parts_and_masks) + self.out(self.dropout(middle, training=training))  # [B, D]


class UserTower(keras.Model):
    """Item vectors of a history [B, L, D] to a user vector [B, D], whose last value is 1.

    Means of the history at several rates of decay, from the newest item to all alike, and two layers over them. The 1
    makes the last value of an item's vector its popularity; where the history is empty, little else decides.
    """

    def __init__(self, *, size: int, hidden_size: int, dropout: float, seed: int) -> None:
        """Make the weights.

        Args:
            size: D.
            hidden_size: Of the layer in between.
            dropout: Share of the history, and of hidden values, that training drops.
            seed: As many seeds from this one on are used as there are random parts.
        """
        super().__init__()
        self.rates = self.add_weight(shape=(len(_HALF_LIVES),), initializer="zeros", name="rates")  # [R], their logs
        self.rates.assign(np.log(np.log(2) / np.array(_HALF_LIVES)))
        glorot = keras.initializers.GlorotUniform
        self.middle = keras.layers.Dense(hidden_size, "relu", kernel_initializer=glorot(seed))
        self.out = keras.layers.Dense(size - 1, kernel_initializer=glorot(seed + 1))
        self.straight = keras.layers.Dense(size - 1, use_bias=False, kernel_initializer=glorot(seed + 4))
        self.history_dropout = keras.layers.Dropout(dropout, seed=seed + 2)
        self.dropout = keras.layers.Dropout(dropout, seed=seed + 3)
        self.middle.build((None, len(_HALF_LIVES) * size))
        self.straight.build((None, len(_HALF_LIVES) * size))
        self.out.build((None, hidden_size))
        self.built = True

    def call(self, vectors: tf.Tensor, history: tf.Tensor, training: bool = False) -> tf.Tensor:
        """User vectors.

        Args:
            vectors: float32 [C, D], of items.
            history: int32 [B, L], rows of these from 1, oldest first, zeros for nothing.
            training: Whether values are dropped.

        Returns:
            float32 [B, D].
        """
        there = tf.cast(history > 0, tf.float32)  # [B, L]
        if training:
            there = tf.cast(self.history_dropout(there, training=True) > 0, tf.float32)
        length = tf.shape(history)[1]
        age = tf.cast(tf.range(length - 1, -1, -1), tf.float32)  # [L], 0 for the newest
        fading = tf.exp(-tf.exp(tf.convert_to_tensor(self.rates))[:, tf.newaxis] * age)  # [R, L]
        weight = there[:, tf.newaxis] * fading  # [B, R, L]
        weight = tf.math.divide_no_nan(weight, tf.reduce_sum(weight, axis=2, keepdims=True))
        of_history = tf.gather(vectors, tf.maximum(history - 1, 0))  # [B, L, D]
        means = tf.matmul(weight, of_history)  # [B, R, D]
        flat = tf.reshape(means, [-1, means.shape[1] * means.shape[2]])  # [B, R D]
        user = self.straight(flat) + self.out(self.dropout(self.middle(flat), training=training))  # [B, D - 1]
        return tf.concat([user, tf.ones_like(user[:, :1])], axis=1)  # [B, D]


def _mean(embedding: keras.layers.Embedding, pieces: tf.Tensor) -> tf.Tensor:
    """The mean over an item's pieces, int32 [B, P] to float32 [B, S]; zeros without any."""
    there = tf.cast(pieces > 0, tf.float32)[:, :, tf.newaxis]  # [B, P, 1]
    total = tf.reduce_sum(embedding(pieces) * there, axis=1)  # [B, S]
    return total / tf.maximum(tf.reduce_sum(there, axis=1), 1.0)
