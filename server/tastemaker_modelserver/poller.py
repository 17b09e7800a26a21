"""The thread that looks at the models' folders again and again and tells the manager what they offer."""

import logging
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tastemaker_modelserver.manager import VersionManager
from tastemaker_modelserver.model_config import ModelSettings
from tastemaker_modelserver.source import list_versions

__all__ = ["FolderPoller"]

_log = logging.getLogger(__name__)


class FolderPoller:
    """Polls every model's folder; a folder that is missing or unreadable holds up no other model."""

    def __init__(self, *, manager: VersionManager[Any], interval_s: float) -> None:
        """Prepares; `start` begins.

        Args:
            manager: Told what the folders offer.
            interval_s: Between looks. 0: one look at each new config. Negative: never look.
        """
        self._manager = manager
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._models: dict[str, ModelSettings] = {}
        self._complaints: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="folder-poller", daemon=True)

    def start(self) -> None:
        """Begins to poll, if the interval is above 0."""
        if self._interval_s > 0:
            self._thread.start()

    def replace(self, models: Iterable[ModelSettings]) -> None:
        """Takes a new config: models that it does not list unload, the others are looked at now."""
        with self._lock:
            old, self._models = self._models, {model.name: model for model in models}
        for name in old.keys() - self._models.keys():
            self._manager.aspire(name, {})
        if self._interval_s >= 0:
            self.poll()

    def poll(self) -> Mapping[str, Mapping[int, Path]]:
        """Looks once, and returns what each folder offers."""
        with self._lock:
            models = list(self._models.values())
            offered: dict[str, Mapping[int, Path]] = {}
            for model in models:
                listing = list_versions(model)
                if listing.complaint != self._complaints.get(model.name, ""):
                    self._complaints[model.name] = listing.complaint
                    if listing.complaint:
                        _log.warning("%s", listing.complaint)
                offered[model.name] = listing.versions
                if listing.versions:
                    self._manager.aspire(model.name, listing.versions)
        return offered

    def close(self) -> None:
        """Stops polling."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self.poll()
            except Exception:
                _log.exception("Looking at the models' folders failed; trying again")
