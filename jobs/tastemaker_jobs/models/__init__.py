"""The models by name. Nothing here imports TensorFlow: a model's file does, when its class is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tastemaker_jobs.errors import UnknownModelError

if TYPE_CHECKING:
    from tastemaker_jobs.models.recommender import Recommender

__all__ = ["IMAGE_CLASSIFIERS", "MODEL_NAMES", "RECOMMENDERS", "check_model_name", "classifier_class", "model_class"]

_RECOMMENDERS = {
    "als": "Als",
    "autoencoder": "Autoencoder",
    "cnn": "Cnn",
    "content": "Content",
    "ease": "Ease",
    "hybrid": "Hybrid",
    "item_knn": "ItemKnn",
    "popularity": "Popularity",
    "rnn": "Rnn",
    "transformer": "Transformer",
}
_CLASSIFIERS = {"image_cnn": "ImageCnn"}

RECOMMENDERS = tuple(sorted(_RECOMMENDERS))
"""Those that learn from ratings and answer `recommend`."""
IMAGE_CLASSIFIERS = tuple(sorted(_CLASSIFIERS))
"""Those that learn from labelled images and answer `classify`."""
MODEL_NAMES = tuple(sorted((*RECOMMENDERS, *IMAGE_CLASSIFIERS)))


def check_model_name(name: str) -> str:
    """The name, if there is such a model.

    Raises:
        UnknownModelError: There is none; the message lists those that there are.
    """
    if name not in MODEL_NAMES:
        raise UnknownModelError(f"There is no model {name!r}. The models are {', '.join(MODEL_NAMES)}.")
    return name


def model_class(name: str) -> type["Recommender"]:
    """The class of a recommender. Imports TensorFlow.

    Raises:
        UnknownModelError: There is none of that name.
    """
    if check_model_name(name) not in _RECOMMENDERS:
        raise UnknownModelError(f"{name} is no recommender. The recommenders are {', '.join(RECOMMENDERS)}.")
    found: type[Recommender] = _imported(name, _RECOMMENDERS[name])
    return found


def classifier_class(name: str) -> Any:
    """The class of an image classifier. Imports TensorFlow.

    Raises:
        UnknownModelError: There is none of that name.
    """
    if check_model_name(name) not in _CLASSIFIERS:
        raise UnknownModelError(f"{name} classifies no images. Those that do are {', '.join(IMAGE_CLASSIFIERS)}.")
    return _imported(name, _CLASSIFIERS[name])


def _imported(name: str, class_name: str) -> Any:
    return getattr(import_module(f"tastemaker_jobs.models.{name}"), class_name)
