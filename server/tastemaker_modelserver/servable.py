"""One loaded version: a SavedModel in a TF1 session, its signatures, and running them.

`tf.saved_model.load` refuses some TF1-style SavedModels and runs functions eagerly; a TF1 session loads both
generations, is what TensorFlow Serving itself uses, and gives the runtime's own error messages. It also never
retraces: any batch size runs through one prepared executor per set of feeds and fetches.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.client import pywrap_tf_session

from tastemaker_modelserver.background import run_in_background
from tastemaker_modelserver.batching_parameters import BatchingParameters
from tastemaker_modelserver.errors import DeadlineError, FailedPreconditionError, as_serving_error
from tastemaker_modelserver.memory import return_freed_memory
from tastemaker_modelserver.signatures import Signature
from tastemaker_modelserver.tensors import Array

__all__ = ["DEFAULT_SIGNATURE", "Servable", "load_saved_model"]

_log = logging.getLogger(__name__)

DEFAULT_SIGNATURE = "serving_default"

_NO_DEADLINE = float("inf")
_CALLERS_THREAD = -1  # TensorFlow's number for it


class Servable:
    """A SavedModel ready to run. Thread-safe."""

    def __init__(self, *, session: Any, signature_defs: Mapping[str, Any], path: Path) -> None:
        self.path = path
        self.signature_defs = dict(signature_defs)
        """Name → SignatureDef, as GetModelMetadata returns them."""
        self.signatures = {name: Signature.from_proto(name, proto) for name, proto in signature_defs.items()}
        self.batching: BatchingParameters | None = None
        """The version's own batching parameters, where the flags ask for them."""
        self.gives_way = True
        """Runs compute at low priority: until the version is warmed up, and serves."""
        self._session = session
        self._outputs: dict[str, Any] = {}
        self._lock = threading.Lock()
        # What Session.run does before each run; the graph does not change after loading, so once is enough.
        session._extend_graph()

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

    def run(
        self, feeds: Mapping[str, Array], fetches: Sequence[str], *, deadline_s: float = _NO_DEADLINE
    ) -> list[Array]:
        """Runs the graph, and holds no GIL while it does.

        `Session.run` spends 0.3 ms of Python on each call to sort out what to feed and fetch; the call beneath it
        takes the same `RunOptions`, so that the caller's deadline still bounds the run.

        Args:
            feeds: Tensor name → array.
            fetches: Tensor names.
            deadline_s: On the `time.monotonic` clock.

        Raises:
            ServingError: The runtime's own message and status.
        """
        prepared = {self._tensor(name): array for name, array in feeds.items()}
        targets = [self._tensor(name) for name in fetches]
        options = _run_options(deadline_s, in_caller=self.gives_way)

        def compute() -> list[Array]:
            result: list[Array] = pywrap_tf_session.TF_SessionRun_wrapper(
                self._session._session, options, prepared, targets, [], None
            )
            return result

        try:
            return run_in_background(compute) if self.gives_way else compute()
        except Exception as error:
            raise as_serving_error(error) from error
        finally:
            if options is not None:
                pywrap_tf_session.TF_DeleteBuffer(options)

    def close(self) -> None:
        """Frees the session and the graph. No run may be in flight."""
        session, self._session = self._session, None
        self._outputs = {}
        if session is not None:
            session.close()
        del session
        return_freed_memory()

    def _tensor(self, name: str) -> Any:
        found = self._outputs.get(name)
        if found is None:
            with self._lock:
                try:
                    found = self._session.graph.as_graph_element(
                        name, allow_tensor=True, allow_operation=False
                    )._as_tf_output()
                except (KeyError, ValueError) as error:
                    raise FailedPreconditionError(
                        f"The signature names a tensor that the graph lacks: {error}"
                    ) from error
                self._outputs[name] = found
        return found


def _run_options(deadline_s: float, *, in_caller: bool) -> Any:
    """A TF_Buffer with RunOptions that end the run at the deadline, for the caller to delete; None for the defaults."""
    if deadline_s == _NO_DEADLINE and not in_caller:
        return None
    options = tf.compat.v1.RunOptions(inter_op_thread_pool=_CALLERS_THREAD if in_caller else 0)
    if deadline_s != _NO_DEADLINE:
        options.timeout_in_ms = int((deadline_s - time.monotonic()) * 1000)
        if options.timeout_in_ms <= 0:
            raise DeadlineError("The deadline passed before the run began")
    return pywrap_tf_session.TF_NewBufferFromString(options.SerializeToString())


class _GivingWay:
    """What TensorFlow's loader needs of a session, with each run at low priority."""

    def __init__(self, session: Any) -> None:
        self.graph = session.graph
        self._session = session

    def run(self, fetches: Any, feed_dict: Any = None) -> Any:
        """As `Session.run`."""
        options = tf.compat.v1.RunOptions(inter_op_thread_pool=_CALLERS_THREAD)
        return run_in_background(lambda: self._session.run(fetches, feed_dict, options=options))


def load_saved_model(path: Path, *, tags: Sequence[str], config: Any) -> Servable:
    """Loads the meta graph with these tags. Its runs give way to others until `Servable.gives_way` is taken back.

    Raises:
        Exception: Whatever TensorFlow found wrong: missing files, a damaged proto, an unknown op.
    """
    session = tf.compat.v1.Session(graph=tf.Graph(), config=config)  # its threads start here, at normal priority
    try:
        meta_graph = tf.compat.v1.saved_model.loader.load(_GivingWay(session), list(tags), str(path))
        return Servable(session=session, signature_defs=meta_graph.signature_def, path=path)
    except BaseException:
        session.close()
        raise
