"""Training on a GPU: samples per second in float32, in mixed precision, with XLA, and with both. Skips without a GPU.

    python -m bench.gpu MODEL FLAGS [--cpu]    # one figure, as JSON; FLAGS such as mixed-precision,xla or -

Each figure is of a process of its own, as flags are set before anything is traced.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.report import Result

__all__ = ["measure"]

_FLAGS = ("-", "mixed-precision", "xla", "mixed-precision,xla")
_NAMES = {"-": "float32"}
_EPOCHS = 5
_SEED = 0
_USERS, _ITEMS, _HISTORY = 20_000, 20_000, 60
_IMAGES = 20_000


def measure() -> list[Result]:
    """A sequence model and an image model; nothing where there is no GPU."""
    if _on_gpu("none", "-")["device"] is None:
        print("no GPU: skipped")
        return []
    return [result for model in _MODELS for result in _of_model(model)]


def _of_model(model: str) -> list[Result]:
    found = {flags: _on_gpu(model, flags) for flags in _FLAGS}
    plain = found["-"]
    return [
        Result(
            f"training of {plain['what']} on {one['device']}, {_NAMES.get(flags, flags.replace(',', ' and '))}",
            f"{one['rate']:,.0f} samples/s" + ("" if one["is_short"] == ("mixed" in flags) else ", not in 16 bits"),
            f"float32: {plain['rate']:,.0f} samples/s",
            f"{one['rate'] / plain['rate']:.2f}",
            "none",
            None,
        )
        for flags, one in found.items()
    ]


def _on_gpu(model: str, flags: str) -> dict[str, Any]:
    ran = subprocess.run([sys.executable, "-m", "bench.gpu", model, flags], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{model} {flags}: {ran.stderr}")
    answer: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return answer


def _figure(model: str, flags: str, *, on_cpu: bool) -> dict[str, Any]:
    from tastemaker_jobs import environment

    environment.quiet_libraries()
    mixed_precision = "mixed-precision" in flags
    if on_cpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        os.environ.update(environment.of_worker(cores=os.cpu_count() or 1, mixed_precision=mixed_precision))
    import tensorflow as tf

    device = None
    for gpu in tf.config.list_physical_devices("GPU"):
        device = tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
    if model == "none" or (device is None and not on_cpu):
        return {"device": device}
    from tastemaker_jobs.training.loop import TrainingStep, count_of, run_epoch
    from tastemaker_jobs.training.speed import multiplies_in_16_bits, set_speed

    scale_loss = set_speed(mixed_precision=mixed_precision, xla="xla" in flags)
    tf.config.experimental.enable_op_determinism()  # as training does
    what, learner, data = _MODELS[model]()
    rng = np.random.default_rng(_SEED)
    examples = learner.examples(data, rng)
    step = TrainingStep(learner, examples, scale_loss=scale_loss)
    rates = []
    for _ in range(_EPOCHS + 1):
        began = time.perf_counter()
        loss = run_epoch(step, examples, learner.config.batch_size, rng)
        rates.append(count_of(examples) / (time.perf_counter() - began))
    return {
        "device": device or "CPU",
        "what": what,
        "rate": statistics.median(rates[1:]),  # the first one traces
        "loss": loss,
        "is_short": multiplies_in_16_bits(),
    }


def _transformer() -> tuple[str, Any, Any]:
    from tastemaker_jobs.data.vocabulary import Vocabulary
    from tastemaker_jobs.models.training_data import TrainingData
    from tastemaker_jobs.models.transformer import Transformer, TransformerConfig

    rng = np.random.default_rng(_SEED)
    ones = np.ones(_HISTORY, np.float32)
    data = TrainingData(
        Vocabulary.of(map(str, range(1, _ITEMS + 1))),
        tuple(rng.integers(1, _ITEMS + 1, _HISTORY).astype(np.int32) for _ in range(_USERS)),
        (ones,) * _USERS,
        (ones,) * _USERS,
        (np.arange(_HISTORY, dtype=np.int64),) * _USERS,
    )
    config = dataclasses.replace(TransformerConfig(), batch_size=256)
    what = f"transformer, {_USERS:,} users, {_ITEMS:,} items, batches of 256"
    return what, Transformer(config, item_count=_ITEMS, seed=_SEED), data


def _image_cnn() -> tuple[str, Any, Any]:
    from tastemaker_jobs.models.image_cnn import ImageCnn, ImageCnnConfig, Pictures

    rng = np.random.default_rng(_SEED)
    pixels = rng.integers(0, 256, (_IMAGES, 32, 32, 3), dtype=np.uint8)
    pictures = Pictures(pixels, rng.integers(0, 10, _IMAGES, dtype=np.int32), 10)
    config = dataclasses.replace(ImageCnnConfig(), batch_size=512)
    what = f"image_cnn, {_IMAGES:,} images, batches of 512"
    return what, ImageCnn(config, class_count=10, seed=_SEED), pictures


_MODELS: dict[str, Callable[[], tuple[str, Any, Any]]] = {"transformer": _transformer, "image_cnn": _image_cnn}


if __name__ == "__main__":
    _, model_name, flag_names, *more = sys.argv
    print(json.dumps(_figure(model_name, flag_names, on_cpu="--cpu" in more)))
