"""One loaded version: a session, its signatures, and running them."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tastemaker_modelserver.background import Priority, run_at
from tastemaker_modelserver.batching_parameters import BatchingParameters
from tastemaker_modelserver.errors import DeadlineError, FailedPreconditionError
from tastemaker_modelserver.memory import return_freed_memory
from tastemaker_modelserver.session import Run, Session
from tastemaker_modelserver.signatures import Signature
from tastemaker_modelserver.tensors import Array

__all__ = ["DEFAULT_SIGNATURE", "Servable", "load_saved_model"]

DEFAULT_SIGNATURE = "serving_default"

_NO_DEADLINE = float("inf")
_CALLERS_THREAD = -1  # TensorFlow's number for it


class Servable:
    """A SavedModel ready to run. Thread-safe."""

    def __init__(self, *, session: Session, path: Path, priority: Priority) -> None:
        self.path = path
        self.signature_defs = session.signature_defs
        """Name → SignatureDef, as GetModelMetadata returns them."""
        self.signatures = {name: Signature.from_proto(name, proto) for name, proto in self.signature_defs.items()}
        self.batching: BatchingParameters | None = None
        """The version's own batching parameters, where the flags ask for them."""
        self.priority = priority
        """Of the runs: `NORMAL` as soon as the version is warmed up, and serves."""
        self._session = session

    def signature(self, name: str) -> Signature:
        """The signature of this name, `serving_default` for the empty one.

        Raises:
            FailedPreconditionError: There is none.
        """
        name = name or DEFAULT_SIGNATURE
        try:
            return self.signatures[name]
        except KeyError:
            raise FailedPreconditionError(f'Serving signature key "{name}" not found.') from None

    def prepare(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> Run:
        """Makes the tensors of a run, for `run`.

        Args:
            feeds: Tensor name → array.
            fetches: Tensor names.

        Raises:
            ServingError: The graph lacks one.
        """
        return self._session.prepare(feeds, fetches)

    def run(self, prepared: Run, *, deadline_s: float = _NO_DEADLINE) -> None:
        """Runs the graph with the version's priority, and holds no GIL while it does.

        Args:
            prepared: Of this version.
            deadline_s: On the `time.monotonic` clock; it ends the run.

        Raises:
            ServingError: The runtime's own message and status.
        """
        in_caller = self.priority is not Priority.NORMAL
        run_at(self.priority, lambda: prepared.run(_run_options(deadline_s, in_caller=in_caller)))

    def close(self) -> None:
        """Frees the session and the graph. No run may be in flight."""
        run_at(Priority.LOW, self._session.close)
        run_at(Priority.LOW, return_freed_memory)


def _run_options(deadline_s: float, *, in_caller: bool) -> bytes:
    """Serialised RunOptions that end the run at the deadline; nothing for the defaults."""
    if deadline_s == _NO_DEADLINE and not in_caller:
        return b""
    options = tf.compat.v1.RunOptions(inter_op_thread_pool=_CALLERS_THREAD if in_caller else 0)
    if deadline_s != _NO_DEADLINE:
        options.timeout_in_ms = int((deadline_s - time.monotonic()) * 1000)
        if options.timeout_in_ms <= 0:
            raise DeadlineError("The deadline passed before the run began")
    serialised: bytes = options.SerializeToString()
    return serialised


def load_saved_model(path: Path, *, tags: Sequence[str], config: Any, priority: Priority) -> Servable:
    """Loads the meta graph with these tags.

    Args:
        path: The version's folder.
        tags: Of the meta graph.
        config: The session's ConfigProto.
        priority: Of loading, and of the servable's runs until that is changed.

    Raises:
        ServingError: Whatever TensorFlow found wrong: missing files, a damaged proto, an unknown op.
    """
    has_own_threads = config.use_per_session_threads or config.session_inter_op_thread_pool
    session = run_at(
        # Threads that a session starts would keep the priority.
        Priority.NORMAL if has_own_threads else priority,
        lambda: Session(
            path,
            tags=tags,
            config=config.SerializeToString(),
            run_options=_run_options(_NO_DEADLINE, in_caller=True),
        ),
    )
    return Servable(session=session, path=path, priority=priority)
