"""What an exported classifier answers: evaluation asks the SavedModel itself, as a server would."""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from tastemaker_jobs.evaluation.served import loaded_with

__all__ = ["ServedClassifier"]

_BATCH = 256


class ServedClassifier:
    """A SavedModel with the signature `classify`."""

    def __init__(self, folder: Path) -> None:
        """Load it.

        Args:
            folder: Of the version.

        Raises:
            ModelLoadError: It is corrupt or lacks the signature.
        """
        self._loaded = loaded_with(folder, "classify")  # kept: the signatures hold its variables weakly
        self._classify = self._loaded.signatures["classify"]

    def labels(self, images: Sequence[bytes]) -> list[str]:
        """The most probable label of each image.

        Args:
            images: [N], bytes of a file each.
        """
        found: list[str] = []
        for start in range(0, len(images), _BATCH):
            answer = self._classify(image=tf.constant(images[start : start + _BATCH]))
            found += [label.decode() for label in answer["label"].numpy()[:, 0]]  # of [B, K]
        return found
