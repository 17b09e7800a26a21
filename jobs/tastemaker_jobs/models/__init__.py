"""The models by name. Nothing here imports TensorFlow: a model's file does, when its class is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING

from tastemaker_jobs.errors import UnknownModelError

if TYPE_CHECKING:
    from tastemaker_jobs.models.recommender import Recommender

__all__ = ["MODEL_NAMES", "check_model_name", "model_class"]

_CLASSES = {
    "als": "Als",
    "autoencoder": "Autoencoder",
    "cnn": "Cnn",
    "ease": "Ease",
    "hybrid": "Hybrid",
    "item_knn": "ItemKnn",
    "popularity": "Popularity",
    "rnn": "Rnn",
    "transformer": "Transformer",
}

MODEL_NAMES = tuple(sorted(_CLASSES))


def check_model_name(name: str) -> str:
    """The name, if there is such a model.

    Raises:
        UnknownModelError: There is none; the message lists those that there are.
    """
    if name not in _CLASSES:
        raise UnknownModelError(f"There is no model {name!r}. The models are {', '.join(MODEL_NAMES)}.")
    return name


def model_class(name: str) -> type["Recommender"]:
    """The class of a model. Imports TensorFlow.

    Raises:
        UnknownModelError: There is none of that name.
    """
    module = import_module(f"tastemaker_jobs.models.{check_model_name(name)}")
    found: type[Recommender] = getattr(module, _CLASSES[name])
    return found
