"""How TensorFlow's sessions are configured: threads, GPU memory, and a ConfigProto from a file."""

import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from tastemaker_modelserver.flags import Flags
from tastemaker_modelserver.text_config import read_text_proto

__all__ = ["session_config"]


def session_config(flags: Flags) -> Any:
    """The `tf.compat.v1.ConfigProto` of every session.

    Raises:
        InvalidArgumentError: `--tensorflow_session_config_file` does not parse.
    """
    # TensorFlow would take every core for each run. Half of them make a run hardly slower, need a quarter less CPU time
    # (a GRU at batch 64: 7.6 ms of it against 10), and leave the other half to read requests and write answers.
    threads = max(1, (os.cpu_count() or 1) // 2)
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads, use_per_session_threads=False
    )
    if flags.tensorflow_session_config_file:
        read_text_proto(Path(flags.tensorflow_session_config_file), config)
    if flags.per_process_gpu_memory_fraction:
        config.gpu_options.per_process_gpu_memory_fraction = flags.per_process_gpu_memory_fraction
    if flags.tensorflow_intra_op_parallelism > 0 or flags.tensorflow_inter_op_parallelism > 0:
        config.intra_op_parallelism_threads = flags.tensorflow_intra_op_parallelism
        config.inter_op_parallelism_threads = flags.tensorflow_inter_op_parallelism
    elif flags.tensorflow_session_parallelism > 0:
        config.intra_op_parallelism_threads = flags.tensorflow_session_parallelism
        config.inter_op_parallelism_threads = flags.tensorflow_session_parallelism
    return config
