"""`--mixed-precision` and `--xla`: what they change, and what they must not."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from tastemaker_jobs.models.autoencoder import Autoencoder, AutoencoderConfig  # noqa: E402
from tastemaker_jobs.testing.models import training_data  # noqa: E402
from tastemaker_jobs.training.loop import TrainingStep, run_epoch  # noqa: E402

HISTORIES = [[1, 2, 3, 4], [2, 3, 4, 5], [1, 3, 5], [2, 4, 6], [6, 5, 4]] * 6
CPU_FLAGS = (Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else "").split()
PROGRAM = """
import os, sys
from tastemaker_jobs import environment
environment.quiet_libraries()
mixed_precision, xla = "mixed" in sys.argv, "xla" in sys.argv
os.environ.update(environment.of_worker(cores=1, mixed_precision=mixed_precision))
from tastemaker_jobs.training.speed import multiplies_in_16_bits, set_speed
print(set_speed(mixed_precision=mixed_precision, xla=xla))
print(multiplies_in_16_bits())
from tastemaker_jobs.models.rnn import Rnn, RnnConfig
from tastemaker_jobs.testing.models import training_data
from tastemaker_jobs.training.loop import TrainingStep, run_epoch
import numpy as np
data = training_data([[1, 2, 3, 4], [2, 3, 4, 5], [1, 3, 5], [2, 4, 6], [6, 5, 4]] * 12, item_count=6)
model = Rnn(RnnConfig(batch_size=16, learning_rate=0.01, max_history=8), item_count=6, seed=1)
rng = np.random.default_rng(1)
step = TrainingStep(model, model.examples(data, rng))
losses = [run_epoch(step, model.examples(data, rng), 16, rng) for _ in range(12)]
print(losses[0], losses[-1])
"""


def trained(**more):
    data = training_data(HISTORIES, item_count=6)
    model = Autoencoder(AutoencoderConfig(batch_size=8), item_count=6, seed=1)
    rng = np.random.default_rng(1)
    step = TrainingStep(model, model.examples(data, rng), **more)
    losses = [run_epoch(step, model.examples(data, rng), 8, rng) for _ in range(5)]
    return losses, model.get_weights(), step


def test_a_scaled_loss_gives_the_same_weights_and_the_same_reported_loss():
    plain_losses, plain, _ = trained()
    losses, scaled, step = trained(scale_loss=True)
    assert float(step.optimizer.dynamic_scale.numpy()) == 2.0**15
    np.testing.assert_allclose(losses, plain_losses, rtol=1e-5)
    for one, other in zip(scaled, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


class Steep(keras.Model):
    """A loss whose gradient is 100 everywhere."""

    name_in_registry = "steep"

    def __init__(self):
        super().__init__()
        self.config = AutoencoderConfig()
        self.weight = self.add_weight(shape=(), initializer="zeros", name="weight")
        self.built = True

    def training_loss(self, batch):
        return 100 * tf.convert_to_tensor(self.weight) * tf.reduce_mean(batch["x"])


def test_a_scale_that_overflows_is_halved_and_its_step_left_out():
    model = Steep()
    ones = np.ones((4,), np.float32)
    step = TrainingStep(model, {"x": ones}, scale_loss=True)
    step.optimizer.dynamic_scale.assign(3.2e38)
    step({"x": tf.constant(ones)})
    assert float(step.optimizer.dynamic_scale.numpy()) == pytest.approx(1.6e38)
    assert float(model.weight.numpy()) == 0.0, "100 times that is infinite: no step was taken"
    step.optimizer.dynamic_scale.assign(1e30)
    step({"x": tf.constant(ones)})
    assert float(model.weight.numpy()) < 0.0


def run(*argv, **variables):
    """Whether the loss is scaled, whether it multiplies in 16 bits, first and last loss."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *argv],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert ran.returncode == 0, ran.stderr
    scaled, short, losses = ran.stdout.splitlines()[-3:]
    first, last = map(float, losses.split())
    return scaled == "True", short == "True", first, last


def test_xla_compiles_the_step_and_it_still_learns(tmp_path):
    flags = {"TF_XLA_FLAGS": "--tf_xla_cpu_global_jit", "XLA_FLAGS": f"--xla_dump_to={tmp_path}/dump"}
    is_scaled, _, first, last = run("xla", "mixed", **flags)
    assert last < 0.8 * first
    assert not is_scaled, "bfloat16 has the range of float32"
    assert list((tmp_path / "dump").glob("*cluster*")), "XLA compiled clusters of the graph"


@pytest.mark.skipif("avx512f" not in CPU_FLAGS, reason="needs a CPU for which TensorFlow multiplies in bfloat16")
def test_mixed_precision_multiplies_in_bfloat16_on_a_cpu_and_learns_the_same():
    _, is_short, *mixed = run("mixed")
    assert is_short
    _, is_short, *whole = run()
    assert not is_short
    assert mixed != whole, "no loss is the same to its last digit"
    np.testing.assert_allclose(mixed, whole, rtol=0.05)
