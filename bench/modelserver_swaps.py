"""What a caller notices while the model server swaps versions, and what twenty swaps leave in its memory."""

import shutil
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import grpc
import psutil

from bench.modelserver_client import AVAILABLE, END, predict_call, states_call
from bench.processes import Modelserver
from bench.report import Result

__all__ = ["measure_swaps"]

_SWAPS = 20
_SWAPS_A_ROUND = 4
_SWAP_SECONDS = 120
_SETTLE_SECONDS = 3.0
_QUIET_SECONDS = 1.5
_LOOK_SECONDS = 0.02

_Window = tuple[float, float]


def measure_swaps(base: Path, server: Modelserver) -> list[Result]:
    """Twenty new versions of `gru`, one after the other, while one caller asks without a pause.

    A swap's window reaches from the moment when the new version loads until the old one is gone; it is compared with
    the quiet time just before, in which the same caller asks and the same states are looked at.

    Args:
        base: The base path of the model, with version 1.
        server: Serves it.
    """
    calls: list[_Window] = []
    stop = threading.Event()
    with grpc.insecure_channel(server.address) as channel, grpc.insecure_channel(server.address) as other:
        predict, states = predict_call(channel), states_call(other)

        def ask() -> None:
            while not stop.is_set():
                began = time.monotonic()
                predict()
                calls.append((began, time.monotonic()))

        caller = threading.Thread(target=ask)
        caller.start()
        try:
            _look(states, _SETTLE_SECONDS, lambda _: False)
            windows, memory = [], {}
            for number in range(2, _SWAPS + 2):
                windows.append(_swap(base, number, states))
                memory[number - 1] = psutil.Process(server.pid).memory_info().rss
        finally:
            stop.set()
            caller.join()
    return [_latency(calls, windows), _memory(memory)]


def _swap(base: Path, number: int, states: Callable[[], Mapping[int, int]]) -> _Window:
    """Brings a version; from when it loads until the one before it has ended."""
    shutil.copytree(base / "1", base / "arriving")
    _look(states, _QUIET_SECONDS, lambda _: False)
    (base / "arriving").rename(base / str(number))
    _look(states, _SWAP_SECONDS, lambda found: number in found)
    began = time.monotonic()
    _look(states, _SWAP_SECONDS, lambda found: found.get(number) == AVAILABLE and found.get(number - 1) == END)
    return began, time.monotonic()


def _look(
    states: Callable[[], Mapping[int, int]], seconds: float, is_over: Callable[[Mapping[int, int]], bool]
) -> None:
    """Looks at the states again and again until it is over or the time is up."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not is_over(states()):
        time.sleep(_LOOK_SECONDS)


def _latency(calls: list[_Window], windows: list[_Window]) -> Result:
    during, before = [], []
    for first in range(0, len(windows), _SWAPS_A_ROUND):
        chosen = windows[first : first + _SWAPS_A_ROUND]
        during.append(_p99_ms(calls, chosen))
        before.append(_p99_ms(calls, [(began - _QUIET_SECONDS, began) for began, _ in chosen]))
    slower = statistics.median(one / other for one, other in zip(during, before, strict=True))
    return Result(
        "p99 of a caller during swaps (keras GRU, with warm-up)",
        f"{statistics.median(during):.2f} ms",
        f"in the {_QUIET_SECONDS:g} s before each: {statistics.median(before):.2f} ms",
        f"{slower:.2f}",
        "≤ 1.5",
        slower <= 1.5,
    )


def _memory(memory: Mapping[int, int]) -> Result:
    growth = memory[_SWAPS] / memory[2] - 1
    return Result(
        f"memory after {_SWAPS} swaps",
        f"{memory[_SWAPS] / 1e6:,.0f} MB",
        f"after 2: {memory[2] / 1e6:,.0f} MB",
        f"{growth:+.1%}",
        "within 10 %",
        growth <= 0.1,
    )


def _p99_ms(calls: list[_Window], windows: list[_Window]) -> float:
    """Of the calls that were under way in a window for part of their time."""
    seconds = [
        ended - began for began, ended in calls if any(began <= last and ended >= first for first, last in windows)
    ]
    return statistics.quantiles(seconds, n=100)[98] * 1000
