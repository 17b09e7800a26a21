"""The embedded model server beside the same function without a server: throughput, a lone call, the start, swaps."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from bench import gru_model
from bench.load import requests_per_second
from bench.modelserver_client import PREDICT, predict_call
from bench.modelserver_start import measure_start
from bench.modelserver_swaps import measure_swaps
from bench.processes import Modelserver, modelserver
from bench.report import Result

__all__ = ["measure"]

_ROUNDS = 9
_CALLS = 3000
_BATCH = 64
_LONE_CALLS = 1000


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
        results.append(measure_start(folder / "keras"))
        with modelserver(folder / "keras", "gru") as server:
            results += measure_swaps(folder / "keras", server)
    return results


def _throughput(kind: str, version: Path, batching: Modelserver, single: Modelserver) -> list[Result]:
    plain = gru_model.in_process(version, _BATCH)
    request = gru_model.predict_request()
    rates: dict[str, list[float]] = {"plain": [], "batching": [], "single": []}
    for round_number in range(_ROUNDS + 1):
        found = {
            "plain": _rows_per_second(plain),
            "batching": requests_per_second(batching.address, PREDICT, request, _CALLS),
            "single": requests_per_second(single.address, PREDICT, request, _CALLS // 4),
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
        Result(what, measured, single_text, f"{to_single:.1f}", *_batching_target(kind, to_single)),
    ]


def _batching_target(kind: str, ratio: float) -> tuple[str, bool | None]:
    """The fused model has none: a run costs it so little that a batch has little to share."""
    return ("≥ 4", ratio >= 4) if kind == "keras" else ("none", None)


def _lone_call(kind: str, version: Path, server: Modelserver) -> Result:
    plain = gru_model.in_process(version, 1)
    with grpc.insecure_channel(server.address) as channel:
        predict = predict_call(channel)
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


def _rows_per_second(call: Callable[[], Any]) -> float:
    began, rows = time.perf_counter(), 0
    while time.perf_counter() - began < 2:
        call()
        rows += _BATCH
    return rows / (time.perf_counter() - began)


def _milliseconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def _median_ratio(ours: list[float], reference: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(ours, reference, strict=True))
