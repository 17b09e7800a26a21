"""The serving signatures of a model that looks at images: bytes in, labels and embeddings out. Stock ops only."""

from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf

from tastemaker_jobs.models.image_cnn import ImageCnn
from tastemaker_jobs.models.image_decoding import decode_images

__all__ = ["export_classifier"]


def export_classifier(model: ImageCnn, labels: Sequence[str], shares: Sequence[float], folder: Path) -> tuple[str, ...]:
    """Write a SavedModel with `classify` (also `serving_default`) and `embed_items`.

    Args:
        model: Trained.
        labels: [K], by class number.
        shares: [K], of each class in the training data: the answer for what is no image.
        folder: Made; must not exist.

    Returns:
        The names of the signatures, sorted.
    """
    served = _ServedClassifier(model, labels, shares)
    image = tf.TensorSpec([None], tf.string, "image")
    classify = tf.function(served.classify).get_concrete_function(image)
    signatures = {
        "classify": classify,
        "embed_items": tf.function(served.embed_items).get_concrete_function(image),
        "serving_default": classify,
    }
    tf.saved_model.save(served, str(folder), signatures=signatures)
    return tuple(sorted(signatures))


class _ServedClassifier(tf.Module):
    """A model with its labels. Holds the model's variables alone, not its Keras objects: nothing else is saved."""

    def __init__(self, model: ImageCnn, labels: Sequence[str], shares: Sequence[float]) -> None:
        super().__init__()
        self.encoder_variables = [weight.value for weight in model.encoder.weights]
        self._variables = [weight.value for weight in model.classifier.weights]
        self._model: Callable[[], ImageCnn] = lambda: model
        self._labels = tf.constant(list(labels))  # [K]
        self._shares = tf.constant(list(shares), tf.float32)  # [K]

    def classify(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """What images show.

        Args:
            image: string [B], the bytes of a JPEG or PNG file each. Empty or broken: the answer is how often each
                class was seen in training.

        Returns:
            label string [B, K] and probability float32 [B, K], most probable first; each row sums to 1.
        """
        pixels, present = self._decoded(image)
        probability = tf.nn.softmax(self._model().logits(pixels))  # [B, K]
        probability = tf.where(present[:, tf.newaxis], probability, self._shares)  # [B, K]
        best, number = tf.math.top_k(probability, self._model().class_count)  # [B, K] each
        return {"label": tf.gather(self._labels, number), "probability": best}

    def embed_items(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """What images look like.

        Args:
            image: string [B], as for `classify`.

        Returns:
            embedding float32 [B, D]; zeros for what is empty or broken.
        """
        pixels, present = self._decoded(image)
        embedded = self._model().encoder(pixels)  # [B, D]
        return {"embedding": embedded * tf.cast(present, tf.float32)[:, tf.newaxis]}

    def _decoded(self, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        config = self._model().config
        return decode_images(image, height=config.height, width=config.width)  # [B, H, W, 3], [B]
