"""From a ModelSpec to a version that serves: names, versions and labels."""

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from tastemaker_modelserver.errors import FailedPreconditionError, InvalidArgumentError
from tastemaker_modelserver.manager import Lease, VersionManager
from tastemaker_modelserver.model_config import ModelSettings
from tastemaker_modelserver.servable import Servable
from tastemaker_modelserver.states import VersionStates

__all__ = ["ModelLookup"]


class ModelLookup:
    """Finds the version that a request means."""

    manager: VersionManager[Servable]
    """Set once by the composition root, before the first call: the manager's own loader needs the lookup."""

    def __init__(self, *, states: VersionStates) -> None:
        self._states = states
        self._lock = threading.Lock()
        self._labels: dict[str, dict[str, int]] = {}
        """Model → label → version, as the config says."""
        self._applied: dict[str, dict[str, int]] = {}
        """The assignments in force: a label that moves keeps its old version until the new one serves."""

    def acquire(self, spec: Any) -> Lease[Servable]:
        """Borrows the version that a `tensorflow.serving.ModelSpec` names; the caller releases it.

        Raises:
            InvalidArgumentError: The spec has no name, or an unknown label.
            FailedPreconditionError: The label names a version that has not served yet.
            NotFoundError: No such model or version serves.
        """
        if not spec.name:
            raise InvalidArgumentError("ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            return self.manager.acquire(spec.name, spec.version.value)
        if choice == "version_label":
            return self.manager.acquire(spec.name, self._version_of(spec.name, spec.version_label))
        return self.manager.acquire(spec.name)

    def check_labels(
        self, models: Iterable[ModelSettings], *, offered: Mapping[str, Mapping[int, object]], allow_unavailable: bool
    ) -> None:
        """Refuses labels that name a version which neither serves nor is about to.

        TensorFlow Serving refuses every label whose version does not serve yet, so that a label cannot come in the
        config that brings its version (tensorflow/serving#1608); here a version that the same config loads is fine.

        Args:
            models: The models of the config.
            offered: Model → the versions that its folder and policy offer.
            allow_unavailable: `--allow_version_labels_for_unavailable_models`: a label that is new may name any
            version.

        Raises:
            FailedPreconditionError: A label names such a version; all of them are listed.
        """
        problems: list[str] = []
        for model in models:
            with self._lock:
                known = dict(self._applied.get(model.name, {}))
            for label, version in model.labels.items():
                unused = label not in known or known[label] == version
                coming = version in offered.get(model.name, {}) or self._states.is_available(model.name, version)
                if not coming and not (allow_unavailable and unused):
                    problems.append(
                        f"Request to assign label to version {version} of model {model.name}, which is not currently "
                        "available for inference"
                    )
        if problems:
            raise FailedPreconditionError("; ".join(problems))

    def set_labels(self, models: Iterable[ModelSettings], *, allow_unavailable: bool) -> None:
        """Takes the labels of a checked config. One whose version does not serve yet is applied when it does."""
        with self._lock:
            self._labels = {model.name: dict(model.labels) for model in models}
            for model, known in list(self._applied.items()):
                wanted = self._labels.get(model, {})
                self._applied[model] = {label: version for label, version in known.items() if label in wanted}
            if allow_unavailable:
                for model, wanted in self._labels.items():
                    applied = self._applied.setdefault(model, {})
                    for label, version in wanted.items():
                        applied.setdefault(label, version)

    def _version_of(self, model: str, label: str) -> int:
        with self._lock:
            wanted = self._labels.get(model, {}).get(label)
            if wanted is None:
                raise InvalidArgumentError(f"Unrecognized servable version label: {label}")
            applied = self._applied.setdefault(model, {})
            if applied.get(label) != wanted and self._states.is_available(model, wanted):
                applied[label] = wanted
            version = applied.get(label)
        if version is None:
            raise FailedPreconditionError(
                f"Label {label} of model {model} names version {wanted}, which is not currently available for inference"
            )
        return version
