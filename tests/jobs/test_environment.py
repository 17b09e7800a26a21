"""What is set for TensorFlow before it starts."""

import os
import subprocess
import sys

import pytest

_STEPS = """
import resource, sys
from tastemaker_jobs import environment
environment.quiet_libraries()
if sys.argv[1] == "kept":
    environment.keep_memory()
import tensorflow as tf

step = tf.function(lambda given: tf.reduce_sum(tf.sqrt(given)))  # 40 MB, 10,000 pages, between the two
given = tf.ones([1000, 10_000])
for _ in range(3):
    step(given)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step(given)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
def test_a_step_takes_no_memory_anew_from_the_system() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_CPU_")}
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", _STEPS, how], text=True, env=environment))
        for how in ("given", "kept")
    }
    assert faults["kept"] < 1000
    assert faults["given"] > 10 * faults["kept"]  # else there is nothing left to keep, and it may go
