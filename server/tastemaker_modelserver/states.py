"""The public state of every version ever seen, and waiting for it: what GetModelStatus reads and a start-up waits on.

States are TensorFlow Serving's: START → LOADING → AVAILABLE → UNLOADING → END. A version that ended stays listed,
with the reason when it ended in an error.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from tastemaker_modelserver.errors import ServingError
from tastemaker_modelserver.metrics import Metrics

__all__ = ["State", "VersionState", "VersionStates"]


class State(Enum):
    """The number is the wire's `ModelVersionStatus.State`."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionState:
    """Where a version stands, and the error that ended it, if one did."""

    state: State
    error: ServingError | None = None


class VersionStates:
    """A thread-safe board of version states."""

    def __init__(self, *, metrics: Metrics) -> None:
        self._metrics = metrics
        self._changed = threading.Condition()
        self._changes = 0
        self._board: dict[str, dict[int, VersionState]] = {}

    def publish(self, model: str, version: int, state: State, error: ServingError | None = None) -> None:
        """Notes a new state and wakes everyone who waits."""
        with self._changed:
            self._board.setdefault(model, {})[version] = VersionState(state, error)
            if state is State.END and error is None:  # else every version that ever was would have a line
                self._metrics.version_state.remove(model, str(version))
            else:
                self._metrics.version_state.set(state.value, model, str(version))
            self._changes += 1
            self._changed.notify_all()

    def of(self, model: str) -> Mapping[int, VersionState]:
        """The versions of a model by number, highest first; empty when the model was never seen."""
        with self._changed:
            versions = dict(self._board.get(model, {}))
        return dict(sorted(versions.items(), reverse=True))

    def is_available(self, model: str, version: int) -> bool:
        """Whether this version serves now."""
        with self._changed:
            known = self._board.get(model, {}).get(version)
        return known is not None and known.state is State.AVAILABLE

    def wait_until(self, settled: Callable[[], bool], *, timeout_s: float) -> bool:
        """Blocks until `settled()` holds after some change; False when `timeout_s` passed first.

        No lock is held while `settled` runs: it may ask others, who publish here.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            with self._changed:
                seen = self._changes
            if settled():
                return True
            with self._changed:
                left_s = deadline_s - time.monotonic()
                if not self._changed.wait_for(lambda: self._changes != seen, timeout=max(0.0, left_s)):  # noqa: B023  # used before `seen` changes
                    return False

    def serving(self, models: Iterable[str]) -> bool:
        """Whether each of these models has a version that serves."""
        with self._changed:
            return all(
                any(version.state is State.AVAILABLE for version in self._board.get(model, {}).values())
                for model in models
            )
