"""`--batching_parameters_file` and a version's own `batching_params.pbtxt`, checked."""

import os
from dataclasses import dataclass
from pathlib import Path

from tastemaker_modelserver.errors import InvalidArgumentError
from tastemaker_modelserver.merging import NO_PADDING, Padding
from tastemaker_modelserver.text_config import batching_parameters

__all__ = ["BatchingParameters", "read_batching_parameters", "read_version_parameters"]

_VERSION_FILE = "batching_params.pbtxt"


@dataclass(frozen=True, kw_only=True)
class BatchingParameters:
    """How batches form, with TensorFlow Serving's defaults."""

    max_batch_rows: int = 1000
    """Rows of a batch at most; a larger request is refused."""
    timeout_s: float = 0.0
    """Longest wait of a job for others, once a thread is free."""
    max_queued_batches: int = 10
    """Batches that may wait, per queue; beyond, calls get UNAVAILABLE."""
    threads: int = os.cpu_count() or 1
    """Batches that run at once."""
    pool: str = "model_server_batch_threads"
    """Label of the queuing metric."""
    padding: Padding = NO_PADDING
    """How batches are filled up."""


def read_batching_parameters(path: Path) -> BatchingParameters:
    """Reads a BatchingParameters text-proto.

    Raises:
        InvalidArgumentError: It does not parse or says something that cannot be; every mistake is listed.
    """
    proto = batching_parameters(path)
    default = BatchingParameters()

    def number(name: str, otherwise: float) -> int:
        return int(getattr(proto, name).value) if proto.HasField(name) else int(otherwise)

    parameters = BatchingParameters(
        max_batch_rows=number("max_batch_size", default.max_batch_rows),
        timeout_s=number("batch_timeout_micros", default.timeout_s * 1e6) / 1e6,
        max_queued_batches=number("max_enqueued_batches", default.max_queued_batches),
        threads=number("num_batch_threads", default.threads),
        pool=proto.thread_pool_name.value or default.pool,
        padding=Padding(tuple(proto.allowed_batch_sizes), proto.pad_variable_length_inputs),
    )
    problems = _problems(parameters)
    if problems:
        raise InvalidArgumentError(f"{path}: {'; '.join(problems)}")
    return parameters


def read_version_parameters(folder: Path) -> BatchingParameters | None:
    """The parameters that a version brings along, or None; raises as `read_batching_parameters`."""
    path = folder / _VERSION_FILE
    return read_batching_parameters(path) if path.is_file() else None


def _problems(parameters: BatchingParameters) -> list[str]:
    problems: list[str] = []
    for name, value in (
        ("max_batch_size", parameters.max_batch_rows),
        ("max_enqueued_batches", parameters.max_queued_batches),
        ("num_batch_threads", parameters.threads),
    ):
        if value < 1:
            problems.append(f"{name} must be positive; was {value}")
    if parameters.timeout_s < 0:
        problems.append(f"batch_timeout_micros must be non-negative; was {parameters.timeout_s * 1e6:.0f}")
    allowed = parameters.padding.allowed_rows
    if allowed and list(allowed) != sorted(set(allowed)):
        problems.append(f"allowed_batch_sizes must be in increasing order; was {list(allowed)}")
    if allowed and allowed[-1] != parameters.max_batch_rows:
        problems.append(
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
            f"{allowed[-1]}; expected {parameters.max_batch_rows}"
        )
    return problems
