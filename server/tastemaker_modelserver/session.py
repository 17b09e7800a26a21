"""A SavedModel in a session of TensorFlow's C API, which is what TensorFlow Serving runs models in as well.

`tf.saved_model.load` refuses some TF1-style SavedModels and runs functions eagerly; a session loads both generations
and gives the runtime's own error messages. It never retraces: any batch size runs through one prepared executor per set
of feeds and fetches.
"""

import ctypes
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from ctypes import c_char_p, c_void_p
from pathlib import Path
from typing import Any

from tensorflow.core.protobuf import meta_graph_pb2

from tastemaker_modelserver.errors import FailedPreconditionError, NotFoundError, ServingError
from tastemaker_modelserver.tensor_memory import array_of, fed
from tastemaker_modelserver.tensorflow_c import Buffer, Output, array_type, blocking, checked, quick
from tastemaker_modelserver.tensors import Array

__all__ = ["Run", "Session", "start_threads"]

_VARIABLES_INDEX = Path("variables") / "variables.index"
_VARIABLES = frozenset({"VarHandleOp", "VariableV2", "Variable"})


class Session:
    """A loaded meta graph. Thread-safe."""

    def __init__(self, path: Path, *, tags: Sequence[str], config: bytes, run_options: bytes) -> None:
        """Loads; without the GIL but for reading what was found.

        Args:
            path: The version's folder.
            tags: Of the meta graph.
            config: A serialised ConfigProto.
            run_options: Serialised RunOptions for the runs that restore the variables and initialise.

        Raises:
            ServingError: Whatever TensorFlow found wrong: missing files, a damaged proto, an unknown op.
        """
        self._graph = quick.TF_NewGraph()
        self._session: int | None = None
        self._outputs: dict[str, Output] = {}
        meta_graph = quick.TF_NewBuffer()
        try:
            with _options(config) as options, checked() as status:
                self._session = blocking.TF_LoadSessionFromSavedModel(
                    options,
                    _buffer(run_options),
                    str(path).encode(),
                    array_type(c_char_p, len(tags))(*(tag.encode() for tag in tags)),
                    len(tags),
                    self._graph,
                    meta_graph,
                    status,
                )
            buffer = meta_graph.contents
            found = meta_graph_pb2.MetaGraphDef.FromString(ctypes.string_at(buffer.data, buffer.length))
            _check_variables(path, found)
            self.signature_defs: dict[str, Any] = dict(found.signature_def)
            """Name → SignatureDef."""
        except ServingError as error:
            self.close()
            raise type(error)(f"{error.message} (loading {path})") from error
        except BaseException:
            self.close()
            raise
        finally:
            quick.TF_DeleteBuffer(meta_graph)

    def prepare(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> "Run":
        """Makes the tensors of a run.

        Args:
            feeds: Tensor name → array.
            fetches: Tensor names.

        Raises:
            ServingError: The graph lacks one.
        """
        return Run(
            self._session, [(self._output(name), array) for name, array in feeds.items()], [*map(self._output, fetches)]
        )

    def close(self) -> None:
        """Frees session and graph. No run may be in flight."""
        session, self._session = self._session, None
        graph, self._graph = self._graph, None
        self._outputs = {}
        if session is not None:
            _end(session)
        if graph is not None:
            blocking.TF_DeleteGraph(graph)

    def _output(self, name: str) -> Output:
        found = self._outputs.get(name)
        if found is None:
            operation_name, _, index = name.partition(":")
            operation = quick.TF_GraphOperationByName(self._graph, operation_name.encode())
            if operation is None or int(index or 0) >= quick.TF_OperationNumOutputs(operation):
                raise FailedPreconditionError(f"The signature names a tensor that the graph lacks: {name}")
            found = self._outputs[name] = Output(operation, int(index or 0))
        return found


class Run:
    """One run of a session, whose tensors are made: prepared, run, read and closed, each perhaps by another thread."""

    def __init__(self, session: int | None, feeds: Sequence[tuple[Output, Array]], fetches: Sequence[Output]) -> None:
        self.seconds = 0.0
        """That the run took."""
        self._session = session
        self._given = array_type(Output, len(feeds))(*(output for output, _ in feeds))
        self._wanted = array_type(Output, len(fetches))(*fetches)
        self._results = array_type(c_void_p, len(fetches))()
        with ExitStack() as stack:
            tensors = [stack.enter_context(fed(array)) for _, array in feeds]
            self._inputs = array_type(c_void_p, len(tensors))(*tensors)
            self._fed = stack.pop_all()

    def run(self, run_options: bytes = b"") -> None:
        """Runs the graph, and holds no GIL while it does.

        Args:
            run_options: Serialised RunOptions.

        Raises:
            ServingError: The runtime's own status and message.
        """
        with checked() as status:
            started_s = time.monotonic()
            blocking.TF_SessionRun(
                *(self._session, _buffer(run_options)),
                *(self._given, self._inputs, len(self._inputs)),
                *(self._wanted, self._results, len(self._results)),
                *(None, 0, None, status),
            )
            self.seconds = time.monotonic() - started_s

    def arrays(self) -> list[Array]:
        """What was fetched, in order.

        Raises:
            UnimplementedError: NumPy has no such type.
        """
        return [array_of(tensor) for tensor in self._results]

    def close(self) -> None:
        """Frees the tensors."""
        self._fed.close()
        for result in self._results:
            if result:
                quick.TF_DeleteTensor(result)
        self._results = ()


def start_threads(config: bytes) -> None:
    """Starts the threads that TensorFlow's sessions share, with the priority of the calling thread.

    Args:
        config: A serialised ConfigProto; the first of a process decides how many threads there are.
    """
    graph = quick.TF_NewGraph()
    with _options(config) as options, checked() as status:
        session = blocking.TF_NewSession(graph, options, status)
    _end(session)
    blocking.TF_DeleteGraph(graph)


def _check_variables(path: Path, meta_graph: Any) -> None:
    """The C API takes a SavedModel whose variables have no files for one without variables, and each call would fail.

    Raises:
        NotFoundError: There are variables and no files: a folder that is still being copied, most likely.
    """
    if (path / _VARIABLES_INDEX).exists():
        return
    nodes = [*meta_graph.graph_def.node]
    for function in meta_graph.graph_def.library.function:
        nodes += function.node_def
    name = next((node.name for node in nodes if node.op in _VARIABLES), None)
    if name is not None:
        raise NotFoundError(f"The graph has variables, {name} among them, and {_VARIABLES_INDEX} is missing")


@contextmanager
def _options(config: bytes) -> Iterator[int]:
    """TF_SessionOptions with a serialised ConfigProto."""
    options = quick.TF_NewSessionOptions()
    try:
        with checked() as status:
            quick.TF_SetConfig(options, config, len(config), status)
        yield options
    finally:
        quick.TF_DeleteSessionOptions(options)


def _buffer(message: bytes) -> Buffer | None:
    """A TF_Buffer over bytes that outlive it; None, for the defaults, where there are none."""
    if not message:
        return None
    held = c_char_p(message)
    buffer = Buffer(ctypes.cast(held, c_void_p), len(message), None)
    buffer.held = held  # keeps the bytes alive as long as what points to them
    return buffer


def _end(session: int) -> None:
    try:
        with checked() as status:
            blocking.TF_CloseSession(session, status)
    finally:
        with checked() as status:
            blocking.TF_DeleteSession(session, status)
