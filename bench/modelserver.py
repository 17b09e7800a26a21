"""The embedded model server beside the same function called without a server: throughput, a lone call, swaps."""

import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import psutil

from bench import gru_model
from bench.load import requests_per_second
from bench.processes import Modelserver, modelserver
from bench.report import Result
from tastemaker.tfserving.v1 import model_status_pb2, predict_pb2

__all__ = ["measure"]

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
_ROUNDS = 5
_CALLS = 3000
_BATCH = 64
_LONE_CALLS = 1000
_SWAPS = 20
_SWAP_SECONDS = 60


def measure() -> list[Result]:
    """Everything that the model server promises about speed, in one run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = []
        for kind in ("keras", "fused"):
            base = folder / kind
            gru_model.save(base / "1", kind)
            with (
                modelserver(base, "gru") as batching,
                modelserver(base, "gru", "--enable_batching=false") as single,
            ):
                results += _throughput(kind, base / "1", batching, single)
                results.append(_lone_call(kind, base / "1", batching))
        with modelserver(folder / "keras", "gru") as server:
            results += _swaps(folder / "keras", server)
    return results


def _throughput(kind: str, version: Path, batching: Modelserver, single: Modelserver) -> list[Result]:
    plain = gru_model.in_process(version, _BATCH)
    request = gru_model.predict_request()
    rates: dict[str, list[float]] = {"plain": [], "batching": [], "single": []}
    for round_number in range(_ROUNDS + 1):
        found = {
            "plain": _rows_per_second(plain),
            "batching": requests_per_second(batching.address, _PREDICT, request, _CALLS),
            "single": requests_per_second(single.address, _PREDICT, request, _CALLS // 4),
        }
        if round_number:  # the first one warms up
            for name, rate in found.items():
                rates[name].append(rate)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    to_plain = _median_ratio(rates["batching"], rates["plain"])
    to_single = _median_ratio(rates["batching"], rates["single"])
    what = f"Predict, {_BATCH} calls in flight ({kind} GRU, history 50, 3,706 items)"
    measured = f"{medians['batching']:,.0f} calls/s"
    plain_text = f"plain loop over the same function at batch {_BATCH}: {medians['plain']:,.0f} rows/s"
    single_text = f"the same server with batching off: {medians['single']:,.0f} calls/s"
    return [
        Result(what, measured, plain_text, f"{to_plain:.2f}", "≥ 0.6", to_plain >= 0.6),
        Result(what, measured, single_text, f"{to_single:.1f}", "≥ 4", to_single >= 4),
    ]


def _lone_call(kind: str, version: Path, server: Modelserver) -> Result:
    plain = gru_model.in_process(version, 1)
    with grpc.insecure_channel(server.address) as channel:
        predict = _predict(channel)
        ours, reference = [], []
        for number in range(_LONE_CALLS + 100):
            pair = _milliseconds(predict), _milliseconds(plain)
            if number >= 100:
                ours.append(pair[0])
                reference.append(pair[1])
    more = statistics.median(ours) - statistics.median(reference)
    return Result(
        f"Predict, one caller, median ({kind} GRU)",
        f"{statistics.median(ours):.2f} ms",
        f"the same function in process at batch 1: {statistics.median(reference):.2f} ms",
        f"{more:+.2f} ms",
        "≤ +1 ms",
        more <= 1,
    )


def _swaps(base: Path, server: Modelserver) -> list[Result]:
    """Twenty new versions, one after the other, while one caller asks without a pause."""
    latencies: list[tuple[float, float]] = []
    stop = threading.Event()
    with grpc.insecure_channel(server.address) as channel, grpc.insecure_channel(server.address) as other:
        predict, status = _predict(channel), _status(other)

        def ask() -> None:
            while not stop.is_set():
                began = time.monotonic()
                predict()
                latencies.append((began, time.monotonic() - began))

        caller = threading.Thread(target=ask)
        caller.start()
        windows, memory = [], {}
        time.sleep(5)  # before any swap: what p99 is compared with
        for number in range(2, _SWAPS + 2):
            shutil.copytree(base / "1", base / "arriving")
            began = time.monotonic()
            (base / "arriving").rename(base / str(number))
            while not status(number):
                if time.monotonic() - began > _SWAP_SECONDS:
                    raise RuntimeError(f"version {number} was not AVAILABLE within {_SWAP_SECONDS} s")
                time.sleep(0.02)
            windows.append((began, time.monotonic()))
            time.sleep(0.5)
            memory[number - 1] = psutil.Process(server.pid).memory_info().rss
        stop.set()
        caller.join()
    first = windows[0][0]
    before = [seconds for began, seconds in latencies[50:] if began < first - 0.1]
    during = [seconds for began, seconds in latencies if any(start <= began <= end for start, end in windows)]
    slower = _p99(during) / _p99(before)
    growth = memory[_SWAPS] / memory[2] - 1
    return [
        Result(
            "p99 of a caller during swaps",
            f"{_p99(during) * 1000:.2f} ms",
            f"before them: {_p99(before) * 1000:.2f} ms",
            f"{slower:.2f}",
            "≤ 1.5",
            slower <= 1.5,
        ),
        Result(
            f"memory after {_SWAPS} swaps",
            f"{memory[_SWAPS] / 1e6:,.0f} MB",
            f"after 2: {memory[2] / 1e6:,.0f} MB",
            f"{growth:+.1%}",
            "within 10 %",
            growth <= 0.1,
        ),
    ]


def _rows_per_second(call: Callable[[], Any]) -> float:
    began, rows = time.perf_counter(), 0
    while time.perf_counter() - began < 2:
        call()
        rows += _BATCH
    return rows / (time.perf_counter() - began)


def _predict(channel: grpc.Channel) -> Callable[[], Any]:
    stub = channel.unary_unary(
        _PREDICT,
        request_serializer=predict_pb2.PredictRequest.SerializeToString,
        response_deserializer=predict_pb2.PredictResponse.FromString,
    )
    request = gru_model.predict_request()
    return lambda: stub(request, timeout=10)


def _status(channel: grpc.Channel) -> Callable[[int], bool]:
    """Whether a version is AVAILABLE."""
    stub = channel.unary_unary(
        _STATUS,
        request_serializer=model_status_pb2.GetModelStatusRequest.SerializeToString,
        response_deserializer=model_status_pb2.GetModelStatusResponse.FromString,
    )
    request = model_status_pb2.GetModelStatusRequest(model_spec=predict_pb2.ModelSpec(name="gru"))
    available = model_status_pb2.ModelVersionStatus.STATE_AVAILABLE

    def is_available(number: int) -> bool:
        statuses = stub(request, timeout=10).model_version_status
        return any(status.version == number and status.state == available for status in statuses)

    return is_available


def _milliseconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def _median_ratio(ours: list[float], reference: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(ours, reference, strict=True))


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]
