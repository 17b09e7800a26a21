"""Changing what is served while serving: the reload call and the watched config file.

A config is a full replacement: models that it does not list unload. It is checked whole before anything changes.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tastemaker_modelserver.errors import CancelledCallError, DeadlineError, ServingError, UnknownError
from tastemaker_modelserver.lookup import ModelLookup
from tastemaker_modelserver.manager import VersionManager
from tastemaker_modelserver.model_config import ModelSettings, read_config
from tastemaker_modelserver.poller import FolderPoller
from tastemaker_modelserver.source import list_versions
from tastemaker_modelserver.states import VersionStates

__all__ = ["ConfigFileWatch", "ServedModels"]

_log = logging.getLogger(__name__)
_CHECK_S = 0.2


class ServedModels:
    """The config in force."""

    def __init__(
        self,
        *,
        manager: VersionManager[Any],
        states: VersionStates,
        lookup: ModelLookup,
        poller: FolderPoller,
        allow_unavailable_labels: bool,
    ) -> None:
        self._manager = manager
        self._states = states
        self._lookup = lookup
        self._poller = poller
        self._allow_unavailable_labels = allow_unavailable_labels
        self._lock = threading.Lock()
        self._models: tuple[ModelSettings, ...] = ()

    @property
    def models(self) -> tuple[ModelSettings, ...]:
        """The models of the config in force."""
        return self._models

    def replace(self, models: Sequence[ModelSettings]) -> frozenset[str]:
        """Puts a config into force without waiting for its models.

        Returns:
            The names that are new.

        Raises:
            FailedPreconditionError: A label names a version that neither serves nor is about to; nothing has changed.
        """
        with self._lock:
            offered = {model.name: list_versions(model).versions for model in models}
            self._lookup.check_labels(models, offered=offered, allow_unavailable=self._allow_unavailable_labels)
            new = frozenset(model.name for model in models) - {model.name for model in self._models}
            self._models = tuple(models)
            self._lookup.set_labels(models, allow_unavailable=self._allow_unavailable_labels)
            self._poller.replace(models)
        return new

    def wait_for(
        self, names: Sequence[str], *, deadline_s: float = float("inf"), cancelled: Callable[[], bool]
    ) -> None:
        """Blocks until each of these models has a version that serves, and its labels name versions that do.

        Args:
            names: Models of the config; those that another config drops meanwhile are no longer waited for.
            deadline_s: On the `time.monotonic` clock.
            cancelled: Asked several times a second; true ends the wait.

        Raises:
            UnknownError: Every wanted version of a model was given up; the text tells why.
            DeadlineError: The deadline passed first.
            CancelledCallError: The wait was ended.
        """
        failed: dict[str, Mapping[int, ServingError]] = {}

        def settled() -> bool:
            wanted = [model for model in self._models if model.name in names]
            for model in wanted:
                if errors := self._manager.failures(model.name):
                    failed[model.name] = errors
            return bool(failed) or (
                self._states.serving(model.name for model in wanted)
                and all(self._labels_serve(model) for model in wanted)
            )

        while not self._states.wait_until(settled, timeout_s=_CHECK_S):
            if cancelled():
                raise CancelledCallError("Nobody waits for the models any more")
            if time.monotonic() > deadline_s:
                raise DeadlineError(f"The models {', '.join(sorted(names))} are not available yet; they go on loading")
        if failed:
            reasons = ", ".join(
                f"{{{{name: {name} version: {version}}} due to error: {error}}}"
                for name, errors in failed.items()
                for version, error in errors.items()
            )
            raise UnknownError(f"{len(failed)} servable(s) did not become available: {{{reasons}}}")

    def _labels_serve(self, model: ModelSettings) -> bool:
        return all(
            self._states.is_available(model.name, version) or not self._manager.is_coming(model.name, version)
            for version in model.labels.values()
        )


class ConfigFileWatch:
    """Reads the config file again and again, and puts what it says into force."""

    def __init__(self, path: Path, *, served: ServedModels, interval_s: float) -> None:
        self._path = path
        self._served = served
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="config-watch", daemon=True)

    def start(self) -> None:
        """Begins, if the interval is above 0."""
        if self._interval_s > 0:
            self._thread.start()

    def close(self) -> None:
        """Stops."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        complaint = ""
        while not self._stop.wait(self._interval_s):
            try:
                models = read_config(self._path)
                if models != self._served.models:
                    self._served.replace(models)
                    _log.info("Config of %s is in force: models %s", self._path, [model.name for model in models])
                complaint = ""
            except ServingError as error:
                if error.message != complaint:  # once, not at every look
                    _log.error("Keeping the config in force: %s", error)  # the message names the place
                complaint = error.message
