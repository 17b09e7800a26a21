"""What makes a step faster where the hardware has it: mixed precision and XLA, as rewrites of the graph.

TensorFlow itself decides which ops gain and which need all their digits, so that no model has to know of it. Gradients
in float16 are kept from vanishing by a scaled loss, which the training step sees to.
"""

import tensorflow as tf

__all__ = ["multiplies_in_16_bits", "set_speed"]

_PROBE = 70_001.0  # float16 has no such number, and bfloat16 none within 0.2 %; TF32 of a GPU has one within 0.03 %


def set_speed(*, mixed_precision: bool, xla: bool) -> bool:
    """Set this process up; before anything is traced.

    Args:
        mixed_precision: Multiply in 16 bits: float16 on a GPU, bfloat16 on a CPU that has it, where TensorFlow was
            imported with `environment.of_worker`. Weights stay float32.
        xla: Compile clusters of ops; on a CPU only with TF_XLA_FLAGS=--tf_xla_cpu_global_jit.

    Returns:
        Whether the loss must be scaled: gradients are of float16, whose smallest number is 6e-8.
    """
    on_gpu = bool(tf.config.list_physical_devices("GPU")) if mixed_precision else False
    if mixed_precision:
        option = "auto_mixed_precision" if on_gpu else "auto_mixed_precision_onednn_bfloat16"
        tf.config.optimizer.set_experimental_options({option: True})
    if xla:
        tf.config.optimizer.set_jit(True)
    return on_gpu


def multiplies_in_16_bits() -> bool:
    """Whether this process does, as found by multiplying: TensorFlow does not say that it left a graph as it is."""
    matrix = tf.Variable(tf.fill([16, 16], _PROBE))

    def square() -> tf.Tensor:
        return tf.nn.relu(tf.matmul(tf.nn.relu(matrix), matrix))

    found = float(tf.function(square)()[0, 0])  # rewrites are of graphs
    return not abs(found / (16 * _PROBE**2) - 1) < 2e-3  # infinite in float16
