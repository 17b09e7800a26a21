"""Fronts on Redis: what a caller sees when Redis is killed, hangs or is emptied, and when two fronts share it."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from tastemaker_server.testing import make_event

_SURFACE = '[surfaces.home]\ntiers = ["PRECOMPUTED", "POPULAR"]\n'


def _settings(redis: Any, **stores: object) -> str:
    more = "".join(f"{key} = {value}\n" for key, value in stores.items())
    return f'[stores]\nonline_store = "{redis.url}"\n{more}{_SURFACE}'


def _eventually(answer: Callable[[], Any], expected: Any) -> None:
    """Waits, 20 s at most, until a call gives what is expected."""
    deadline = time.monotonic() + 20
    seen: Any = None
    while time.monotonic() < deadline:
        try:
            seen = answer()
        except grpc.RpcError as error:
            seen = error
        if seen == expected:
            return
        time.sleep(0.05)
    raise AssertionError(f"expected {expected!r}, and in the end it was {seen!r}")


@pytest.mark.slow
def test_feedback_through_one_front_shows_in_the_next_answer_of_another(
    tmp_path: Path, start_redis: Callable[..., Any], start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    redis = start_redis()
    first, second = (connect(start_front(_settings(redis)).address) for _ in range(2))  # of one log, too
    events = [make_event(f"{item}-{user}", user_id=f"x{user}", item_id=item) for item in "abc" for user in range(9)]
    first.feedback(*events)
    for number, item in enumerate("abc"):
        assert item in second.item_ids()
        (first, second)[number % 2].feedback(make_event(f"u-{item}", item_id=item))
        assert item not in first.item_ids()
        assert item not in second.item_ids()


@pytest.mark.slow
@pytest.mark.parametrize("is_cluster", [False, True])
def test_killed_redis_loses_no_acknowledged_event_and_counts_none_twice(
    start_redis: Callable[..., Any], start_front: Callable[..., Any], connect: Callable[[str], Any], is_cluster: bool
) -> None:
    redis = start_redis(is_cluster=is_cluster)
    front = start_front(_settings(redis))
    wire = connect(front.address)
    sent = itertools.count()
    acknowledged: list[int] = []
    codes: set[grpc.StatusCode] = set()
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            number = next(sent)
            while not stop.is_set():  # as a caller does: again, with the same id
                try:
                    wire.feedback(make_event(f"e{number}", user_id=f"u{number % 5}", item_id=f"i{number}"))
                    acknowledged.append(number)
                    break
                except grpc.RpcError as error:
                    codes.add(error.code())

    def read() -> None:
        while not stop.is_set():
            try:
                wire.recommend("u1", timeout=2)
            except grpc.RpcError as error:
                codes.add(error.code())

    threads = [threading.Thread(target=target) for target in (write, write, write, read)]
    for thread in threads:
        thread.start()
    try:
        for goal in (100, 200):
            _eventually(lambda goal=goal: len(acknowledged) > goal, True)  # type: ignore[misc]
            redis.kill()
            _eventually(lambda: grpc.StatusCode.UNAVAILABLE in codes, True)
            redis.start()
        _eventually(lambda: len(acknowledged) > 300, True)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert codes == {grpc.StatusCode.UNAVAILABLE}
    _eventually(lambda: bool(wire.feedback(make_event("last", user_id="last"))), True)
    # Each item was consumed by one user: a count of two would be an event that was counted twice.
    counts = redis.command("ZRANGE", "tm:{popular}:counts", "0", "-1", "WITHSCORES").split()
    found = dict(zip(counts[::2], counts[1::2], strict=True))
    assert {f"i{number}" for number in acknowledged} <= set(found)
    assert set(found.values()) == {"-1"} | ({found["i1"]} if "i1" in found else set())
    for user in range(5):
        seen = wire.item_ids(f"u{user}", max_results=100)
        assert not {f"i{number}" for number in acknowledged if number % 5 == user}.intersection(seen)


def test_hung_redis_is_answered_within_the_callers_deadline(
    start_redis: Callable[..., Any],
    start_front: Callable[..., Any],
    connect: Callable[[str], Any],
    call_error: Callable[..., Any],
) -> None:
    redis = start_redis()
    wire = connect(start_front(_settings(redis, online_store_timeout_milliseconds=30_000)).address)
    wire.feedback(make_event("a"))
    os.kill(redis.process.pid, signal.SIGSTOP)
    try:
        error = call_error(wire.recommend, "u1", timeout=1)
    finally:
        os.kill(redis.process.pid, signal.SIGCONT)
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert error.retry_delay_seconds == 0.5
    _eventually(lambda: wire.item_ids("x"), ["i1"])


@pytest.mark.slow
def test_redis_that_was_emptied_is_filled_again_from_the_log(
    start_redis: Callable[..., Any], start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    redis = start_redis()
    front = start_front(_settings(redis))
    wire = connect(front.address)
    wire.feedback(*[make_event(str(number), user_id=f"u{number % 3}", item_id=f"i{number}") for number in range(9)])
    before = wire.item_ids("u1")
    assert len(before) == 6
    redis.command("FLUSHALL")
    _eventually(lambda: redis.command("GET", "tm:{popular}:applied").strip(), "9")
    _eventually(lambda: wire.item_ids("u1"), before)
    assert any("went back from position 9 to 0" in line for line in front.log)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis://:secret@127.0.0.1:9/0", "stores.online_store redis://:***@127.0.0.1:9/0:"),
        ("redis://u:secret@", "stores.online_store"),
        ("mysql://u:secret@host", "stores.online_store: String should match pattern"),
    ],
)
def test_start_without_the_store_names_the_setting_and_not_the_password(tmp_path: Path, url: str, problem: str) -> None:
    config = tmp_path / "front.toml"
    config.write_text(
        f'[server]\naddress = "127.0.0.1:0"\ndata_dir = "{tmp_path}/d"\n[stores]\nonline_store = "{url}"\n{_SURFACE}'
    )
    ended = subprocess.run(
        [sys.executable, "-m", "tastemaker_server.main", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode in (1, 2)
    assert problem in ended.stderr
    assert "secret" not in ended.stderr
    assert "Traceback" not in ended.stderr
