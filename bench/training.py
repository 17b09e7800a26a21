"""Our training loop beside a plain one over the same model: samples per second."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bench.report import Result

__all__ = ["measure"]

_ROUNDS = 7
_SEED = 0
_IMAGES = 4096


def measure() -> list[Result]:
    """A sequence model and an image model, an epoch of each loop in turns."""
    return [_compare(*_rnn()), _compare(*_image_cnn())]


def _compare(what: str, model: Any, data: Any) -> Result:
    ours, plain = _our_epoch(model, data), _plain_epoch(model, data)
    rates: dict[str, list[float]] = {"ours": [], "plain": []}
    for round_number in range(_ROUNDS + 1):
        pairs = [("ours", ours), ("plain", plain)]
        for name, epoch in pairs if round_number % 2 else reversed(pairs):
            rate = _samples_per_second(epoch)
            if round_number:  # the first one traces
                rates[name].append(rate)
    ratio = statistics.median(one / other for one, other in zip(rates["ours"], rates["plain"], strict=True))
    return Result(
        f"training, {what}",
        f"{statistics.median(rates['ours']):,.0f} samples/s",
        f"tf.data and GradientTape over the same model: {statistics.median(rates['plain']):,.0f} samples/s",
        f"{ratio:.2f}",
        "≥ 1",
        ratio >= 1,
    )


def _our_epoch(model: Any, data: Any) -> Callable[[], int]:
    from tastemaker_jobs.training.loop import TrainingStep, run_epoch

    rng = np.random.default_rng(_SEED)
    step = TrainingStep(model, model.examples(data, rng))

    def epoch() -> int:
        examples = model.examples(data, rng)
        run_epoch(step, examples, model.config.batch_size, rng)
        return _count(examples)

    return epoch


def _plain_epoch(model: Any, data: Any) -> Callable[[], int]:
    """As TensorFlow's guides write it: shuffled, batched and prefetched by tf.data, a traced step, Adam."""
    import keras
    import tensorflow as tf

    rng = np.random.default_rng(_SEED)
    config, variables = model.config, model.trainable_variables
    optimizer = keras.optimizers.Adam(config.learning_rate, global_clipnorm=config.clip_norm)
    optimizer.build(variables)

    def one_step(batch: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = model.training_loss(batch)
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    step = tf.function(one_step, reduce_retracing=True)

    def epoch() -> int:
        examples = model.examples(data, rng)
        count = _count(examples)
        dataset = tf.data.Dataset.from_tensor_slices(dict(examples)).shuffle(count, seed=_SEED)
        losses = [step(batch) for batch in dataset.batch(config.batch_size).prefetch(tf.data.AUTOTUNE)]
        float(np.mean([loss.numpy() for loss in losses]))
        return count

    return epoch


def _rnn() -> tuple[str, Any, Any]:
    """Histories as many and as long as those of MovieLens 100K."""
    from tastemaker_jobs.data.vocabulary import Vocabulary
    from tastemaker_jobs.models.rnn import Rnn, RnnConfig
    from tastemaker_jobs.models.training_data import TrainingData

    rng = np.random.default_rng(_SEED)
    lengths = np.clip(rng.lognormal(4.2, 1.0, 943), 20, 700).astype(int)
    histories = [rng.integers(1, 1683, length).astype(np.int32) for length in lengths]
    data = TrainingData(
        Vocabulary.of(map(str, range(1, 1683))),
        tuple(histories),
        tuple(np.ones(length, np.float32) for length in lengths),
        tuple(np.ones(length, np.float32) for length in lengths),
        tuple(np.arange(length, dtype=np.int64) for length in lengths),
    )
    return "rnn, 943 users, 1,682 items", Rnn(RnnConfig(), item_count=1682, seed=_SEED), data


def _image_cnn() -> tuple[str, Any, Any]:
    from tastemaker_jobs.models.image_cnn import ImageCnn, ImageCnnConfig, Pictures

    rng = np.random.default_rng(_SEED)
    pixels = rng.integers(0, 256, (_IMAGES, 32, 32, 3), dtype=np.uint8)
    pictures = Pictures(pixels, rng.integers(0, 10, _IMAGES, dtype=np.int32), 10)
    return f"image_cnn, {_IMAGES:,} images", ImageCnn(ImageCnnConfig(), class_count=10, seed=_SEED), pictures


def _count(examples: Mapping[str, Any]) -> int:
    return len(next(iter(examples.values())))


def _samples_per_second(epoch: Callable[[], int]) -> float:
    began = time.perf_counter()
    count = epoch()
    return count / (time.perf_counter() - began)
