"""Arrays through a session of TensorFlow's C API and back, against what TensorFlow's own Python makes of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

STRINGS = [b"", b"242", b"x" * 22, b"y" * 23, b"z" * 300, b"\0", b"tail\0\0", "Amélie".encode(), b"w" * 70_000]
DTYPES = [
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", "qint8"),
]


def session(path: Path) -> Any:
    from tastemaker_modelserver.session import Session

    return Session(path, tags=["serve"], config=b"", run_options=b"")


def once(loaded: Any, feeds: dict[str, Any], fetches: list[str]) -> list[Any]:
    """Prepares, runs, reads and frees."""
    run = loaded.prepare(feeds, fetches)
    try:
        run.run()
        found: list[Any] = run.arrays()
        return found
    finally:
        run.close()


@pytest.fixture
def identity(tf: Any, tmp_path: Path) -> Any:
    """Saves and loads a model that gives back what it is given: dtype → array → array."""

    def run(dtype: Any, array: Any) -> Any:
        graph = tf.Graph()
        with graph.as_default(), tf.compat.v1.Session(graph=graph) as saved:
            given = tf.compat.v1.placeholder(dtype, shape=None, name="given")
            wanted = tf.identity(given, name="wanted")
            tf.compat.v1.saved_model.simple_save(saved, str(tmp_path / "1"), {"given": given}, {"wanted": wanted})
        loaded = session(tmp_path / "1")
        try:
            (found,) = once(loaded, {"given:0": array}, ["wanted:0"])
        finally:
            loaded.close()
        return found

    return run


@pytest.mark.parametrize("shape", [(len(STRINGS),), (3, 3), (1, 9, 1)])
def test_strings_of_any_length_come_back_as_they_are(tf: Any, identity: Any, shape: tuple[int, ...]) -> None:
    array = np.array(STRINGS, dtype=np.object_).reshape(shape)
    found = identity(tf.string, array)
    assert found.shape == shape
    assert found.ravel().tolist() == STRINGS


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_every_type_come_back_as_they_are(tf: Any, identity: Any, dtype: str) -> None:
    kind = tf.dtypes.as_dtype(dtype)
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(kind.as_numpy_dtype).T  # not contiguous
    found = identity(kind, array)
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist()


@pytest.mark.parametrize("shape", [(), (0,), (2, 0)])
def test_scalars_and_empty_arrays_keep_their_shape(tf: Any, identity: Any, shape: tuple[int, ...]) -> None:
    assert identity(tf.float32, np.ones(shape, dtype=np.float32)).shape == shape


def test_a_tensor_that_the_graph_lacks_is_named(models: Any, tmp_path: Path) -> None:
    from tastemaker_modelserver.errors import FailedPreconditionError

    loaded = session(models.affine(tmp_path / "m" / "1"))
    with pytest.raises(FailedPreconditionError, match="lacks: nowhere:0"):
        loaded.prepare({}, ["nowhere:0"])
    loaded.close()


def test_what_cannot_be_loaded_says_why_and_frees_what_it_took(models: Any, tmp_path: Path) -> None:
    from tastemaker_modelserver.errors import NotFoundError
    from tastemaker_modelserver.session import Session

    with pytest.raises(NotFoundError, match="Could not find SavedModel"):
        session(tmp_path / "nothing")
    with pytest.raises(NotFoundError, match="matching supplied tags"):
        Session(models.affine(tmp_path / "m" / "1"), tags=["other"], config=b"", run_options=b"")


def test_thousands_of_runs_leave_nothing_in_memory(tf: Any, models: Any, tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    loaded = session(models.affine(tmp_path / "m" / "1"))
    inputs = loaded.signature_defs["serving_default"].inputs
    feeds = {next(iter(inputs.values())).name: np.ones((1000, 250), dtype=np.float32)[:, :1]}
    outputs = [info.name for info in loaded.signature_defs["serving_default"].outputs.values()]
    once(loaded, feeds, outputs)
    before = psutil.Process().memory_info().rss
    for _ in range(5000):
        once(loaded, feeds, outputs)
    assert psutil.Process().memory_info().rss < before + 10_000_000
    loaded.close()
