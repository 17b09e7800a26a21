"""The life of every version: load, serve, replace, unload. Nothing a caller does waits for a load.

One thread applies `policy`; each load runs in a thread of its own and holds a load slot only while it works, so that
a model that waits for its next attempt holds up no other. Callers borrow a servable through a counted `Lease`, and a
version is closed only when its last lease is back.
"""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from tastemaker_modelserver.errors import CancelledCallError, NotFoundError, ServingError, as_serving_error
from tastemaker_modelserver.policy import Load, Phase, Snapshot, Unload, next_action
from tastemaker_modelserver.source import folder_fingerprint
from tastemaker_modelserver.states import State, VersionStates

__all__ = ["Lease", "VersionManager"]

_log = logging.getLogger(__name__)


class _Closable(Protocol):
    def close(self) -> None:
        """Frees what the servable holds; no call uses it any more."""


S_co = TypeVar("S_co", bound=_Closable, covariant=True)
S = TypeVar("S", bound=_Closable)


class _LoadVersion(Protocol[S_co]):
    def __call__(self, model: str, version: int, path: Path) -> S_co:
        """Loads and warms one version; blocks, and raises whatever went wrong."""


class Lease(Generic[S]):
    """One version in use. `release` it once, from any thread."""

    __slots__ = ("_count", "_idle", "_lock", "_retired", "servable", "version")

    def __init__(self, servable: S, version: int) -> None:
        self.servable = servable
        self.version = version
        self._lock = threading.Lock()
        self._count = 0
        self._retired = False
        self._idle = threading.Event()

    def _take(self) -> bool:
        with self._lock:
            if self._retired:
                return False
            self._count += 1
            return True

    def release(self) -> None:
        """Gives one use back."""
        with self._lock:
            self._count -= 1
            if self._retired and not self._count:
                self._idle.set()

    def _retire(self) -> None:
        with self._lock:
            self._retired = True
            if not self._count:
                self._idle.set()

    def _wait_idle(self) -> None:
        self._idle.wait()


@dataclass(eq=False)
class _Managed(Generic[S]):
    version: int
    path: Path
    aspired: bool = True
    phase: Phase = Phase.NEW
    lease: Lease[S] | None = None
    error: ServingError | None = None
    fingerprint: int = 0
    """Of the folder, before the last attempt to load."""
    wake: threading.Event = field(default_factory=threading.Event)
    """Ends the wait for the next attempt: the folder changed, or the version is no longer wanted."""


class VersionManager(Generic[S]):
    """Keeps the wanted versions of every model loaded."""

    def __init__(
        self,
        *,
        load: _LoadVersion[S],
        states: VersionStates,
        max_load_retries: int,
        load_retry_interval_s: float,
        load_threads: int,
    ) -> None:
        self._load = load
        self._states = states
        self._attempts = 1 + max(0, max_load_retries)
        self._retry_interval_s = load_retry_interval_s
        self._slots = threading.BoundedSemaphore(max(1, load_threads))
        self._changed = threading.Condition()
        self._models: dict[str, dict[int, _Managed[S]]] = {}
        self._pending: dict[str, Mapping[int, Path]] = {}
        self._serving: Mapping[str, Mapping[int, Lease[S]]] = {}  # replaced, never changed: readers take no lock
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="version-manager", daemon=True)
        self._thread.start()

    def aspire(self, model: str, versions: Mapping[int, Path]) -> None:
        """Says which versions of a model should serve; none unloads the model. Returns at once."""
        with self._changed:
            self._pending[model] = dict(versions)
            self._changed.notify_all()

    def acquire(self, model: str, version: int | None = None) -> Lease[S]:
        """Borrows a version that serves: this one, or the highest. The caller releases the lease.

        Raises:
            NotFoundError: No such version serves now.
        """
        while True:
            versions = self._serving.get(model)
            number = version if version is not None or not versions else max(versions)
            lease = versions.get(number) if versions and number is not None else None
            if lease is None:
                wanted = f"Latest({model})" if version is None else f"Specific({model}, {version})"
                raise NotFoundError(f"Servable not found for request: {wanted}")
            if lease._take():
                return lease

    def failures(self, model: str) -> Mapping[int, ServingError]:
        """The errors of a model's wanted versions, when every one of them was given up; otherwise nothing."""
        with self._changed:
            if self._pending.get(model):
                return {}
            wanted = [managed for managed in self._models.get(model, {}).values() if managed.aspired]
            errors = {managed.version: managed.error for managed in wanted if managed.phase is Phase.FAILED}
        if len(errors) != len(wanted):
            return {}
        return {version: error for version, error in errors.items() if error is not None}

    def is_coming(self, model: str, version: int) -> bool:
        """Whether this version should serve and may still do so: it is not loaded yet, and was not given up."""
        with self._changed:
            if version in self._pending.get(model, {}):
                return True
            managed = self._models.get(model, {}).get(version)
            return managed is not None and managed.aspired and managed.phase in (Phase.NEW, Phase.BUSY)

    def close(self) -> None:
        """Stops loading and lets the process end; calls in flight keep their leases."""
        with self._changed:
            self._closing = True
            for versions in self._models.values():
                for managed in versions.values():
                    managed.aspired = False
                    managed.wake.set()
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._closing:
                self._apply_pending()
                busy = [self._step(model) for model in list(self._models)]
                if not any(busy):
                    self._changed.wait()

    def _apply_pending(self) -> None:
        for model, wanted in list(self._pending.items()):
            managed = self._models.setdefault(model, {})
            self._drop_finished(model, managed)
            if any(not known.aspired and known.version in wanted for known in managed.values()):
                continue  # wanted again while it is still on its way out: first let it go
            del self._pending[model]
            for known in managed.values():
                if known.version not in wanted:
                    known.aspired = False
                    known.wake.set()
                elif known.phase is not Phase.READY and known.error is not None:
                    self._reconsider(model, known)
            for version, path in wanted.items():
                if version not in managed:
                    managed[version] = _Managed(version, path)
                    self._states.publish(model, version, State.START)
            self._drop_finished(model, managed)

    def _drop_finished(self, model: str, managed: dict[int, _Managed[S]]) -> None:
        for known in list(managed.values()):
            if not known.aspired and known.phase in (Phase.NEW, Phase.FAILED):
                if known.phase is Phase.NEW:
                    self._states.publish(model, known.version, State.END)
                del managed[known.version]

    def _reconsider(self, model: str, known: _Managed[S]) -> None:
        """A version that failed is tried again when its folder changed: a copy may have been finished."""
        if folder_fingerprint(known.path) == known.fingerprint:
            return
        known.wake.set()
        if known.phase is Phase.FAILED:
            known.phase, known.error = Phase.NEW, None
            known.wake.clear()
            self._states.publish(model, known.version, State.START)

    def _step(self, model: str) -> bool:
        managed = self._models[model]
        action = next_action([Snapshot(known.version, known.phase, known.aspired) for known in managed.values()])
        if isinstance(action, Load):
            chosen = managed[action.version]
            chosen.phase = Phase.BUSY
            self._states.publish(model, chosen.version, State.LOADING)
            threading.Thread(
                target=self._load_version, args=(model, chosen), name=f"load-{model}-{chosen.version}", daemon=True
            ).start()
        elif isinstance(action, Unload):
            chosen = managed[action.version]
            chosen.phase = Phase.BUSY
            self._publish_serving(model)
            self._states.publish(model, chosen.version, State.UNLOADING)
            threading.Thread(
                target=self._unload_version, args=(model, chosen), name=f"unload-{model}-{chosen.version}", daemon=True
            ).start()
        return action is not None

    def _load_version(self, model: str, managed: _Managed[S]) -> None:
        error: ServingError | None = None
        for attempt in range(self._attempts):
            if attempt:
                managed.wake.wait(max(0.0, self._retry_interval_s))
                managed.wake.clear()
            if not managed.aspired:
                error = CancelledCallError("Loading of servable cancelled")
                break
            managed.fingerprint = folder_fingerprint(managed.path)
            try:
                started = time.monotonic()
                with self._slots:
                    servable = self._load(model, managed.version, managed.path)
            except Exception as raised:
                error = managed.error = as_serving_error(raised)
                left = self._attempts - attempt - 1
                _log.error(  # the traceback is TensorFlow's inside; the message is what helps
                    "Loading servable {name: %s version: %d} failed: %s (%d more attempts)",
                    model,
                    managed.version,
                    error,
                    left,
                )
            else:
                seconds = time.monotonic() - started
                _log.info(
                    "Successfully loaded servable version {name: %s version: %d} in %.2f s",
                    model,
                    managed.version,
                    seconds,
                )
                self._serve(model, managed, servable)
                return
        with self._changed:
            managed.phase, managed.error = Phase.FAILED, error
            self._states.publish(model, managed.version, State.END, error)
            self._changed.notify_all()

    def _serve(self, model: str, managed: _Managed[S], servable: S) -> None:
        with self._changed:
            managed.lease = Lease(servable, managed.version)
            managed.phase, managed.error = Phase.READY, None
            self._publish_serving(model)
            self._states.publish(model, managed.version, State.AVAILABLE)
            self._changed.notify_all()

    def _unload_version(self, model: str, managed: _Managed[S]) -> None:
        lease, managed.lease = managed.lease, None
        if lease is not None:
            lease._retire()
            lease._wait_idle()
            lease.servable.close()
        del lease
        _log.info("Done unloading servable version {name: %s version: %d}", model, managed.version)
        with self._changed:
            self._states.publish(model, managed.version, State.END)
            self._models[model].pop(managed.version, None)
            self._changed.notify_all()

    def _publish_serving(self, model: str) -> None:
        ready = {
            known.version: known.lease
            for known in self._models[model].values()
            if known.phase is Phase.READY and known.lease is not None
        }
        self._serving = {**self._serving, model: ready}
