"""Keeps what TensorFlow's C++ says while it is imported (that it found no GPU, and so on) off a user's terminal."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

__all__ = ["start_tensorflow"]


def start_tensorflow() -> None:
    """Import TensorFlow and have it look for devices, without what it says meanwhile."""
    with _quiet():
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """While the block runs, stderr goes to a file, which is shown only if the block fails.

    TF_CPP_MIN_LOG_LEVEL does not reach these lines: they are written before TensorFlow's logging is set up.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as aside:
        saved = os.dup(2)
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            aside.seek(0)
            os.write(saved, aside.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
