"""G of docs/scale.md: items a second whose scores one core computes, with the 200 best of them.

`python -m bench.scoring_speed`. No reference and no target, so it is none of `make bench`: it is an input of the
arithmetic.
"""

import os
import statistics
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

__all__ = ["main"]

_ITEMS, _WIDTH, _K, _ROUNDS = 1_000_000, 64, 200, 7


def main() -> None:
    """Prints a line for each size of batch: the median of the rounds, after one that is not counted."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    rng = tf.random.Generator.from_seed(1)
    items = rng.normal([_ITEMS, _WIDTH])  # [I, D]

    def ranked(users: tf.Tensor) -> tf.Tensor:
        return tf.math.top_k(tf.matmul(users, items, transpose_b=True), _K).indices  # [B, K]

    best = tf.function(ranked)
    for batch in (16, 64):
        users = rng.normal([batch, _WIDTH])  # [B, D]
        best(users).numpy()
        rates = []
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            best(users).numpy()
            rates.append(batch * _ITEMS / (time.perf_counter() - began))
        print(f"{batch} users at once: {statistics.median(rates):,.0f} items/s")


if __name__ == "__main__":
    main()
