"""Replaying a model's warm-up requests before it serves: `assets.extra/tf_serving_warmup_requests`.

A version without the file is loaded all the same. With it, one bad record fails the version, and the one before keeps
serving.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from tastemaker_modelserver.errors import DataLossError, InvalidArgumentError, ServingError, as_serving_error
from tastemaker_modelserver.metrics import Metrics

__all__ = ["WARMUP_FILE", "replay_warmup"]

_log = logging.getLogger(__name__)

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
_MAX_RECORDS = 1000


def replay_warmup(path: Path, run: Callable[[Any], None], *, iterations: int, metrics: Metrics) -> None:
    """Sends each PredictionLog of the version in `path` to `run`.

    Args:
        path: The version's folder.
        run: Runs one PredictionLog and raises when it fails.
        iterations: Times each record is run.
        metrics: Where the time and the records are counted.

    Raises:
        ServingError: A record does not parse or run, or there are more than 1,000.
    """
    file = path / WARMUP_FILE
    if not file.is_file():
        _log.info("No warmup data file found at %s", file)
        return
    started = time.monotonic()
    records = 0
    status = "OK"
    try:
        for record in _records(file):
            records += 1
            if records > _MAX_RECORDS:
                raise InvalidArgumentError(f"Number of warmup records exceeds the maximum ({_MAX_RECORDS}) at {file}")
            log = _parse(record, file)
            for _ in range(iterations):
                run(log)
    except ServingError as error:
        status = error.code.name
        raise type(error)(f"Warm-up record {records} of {file}: {error.message}") from error
    finally:
        metrics.warmup_latency.observe((time.monotonic() - started) * 1e6, str(path), status)
        metrics.warmup_records_read.add(str(path), status, by=records)
    _log.info("Replayed %d warmup records of %s in %.2f s", records, file, time.monotonic() - started)


def _records(file: Path) -> Any:
    try:
        yield from tf.compat.v1.io.tf_record_iterator(str(file))
    except tf.errors.DataLossError as error:
        raise DataLossError(f"{error.message}. Please verify your warmup data is in TFRecord format.") from error
    except tf.errors.OpError as error:
        raise as_serving_error(error) from error


def _parse(record: bytes, file: Path) -> Any:
    log = prediction_log_pb2.PredictionLog()
    try:
        log.ParseFromString(record)
    except DecodeError as error:
        raise InvalidArgumentError(f"Failed to parse warmup record from {file}: {error}") from error
    return log
