"""Fronts on one PostgreSQL: whoever is killed, no acknowledged event is lost and none counts twice."""

import contextlib
import itertools
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.servers.postgres import PostgresServer

from tastemaker_server.testing import make_event

_SECONDS = 60


def _toml(url: str) -> str:
    return f'[stores]\nevent_log = "{url}"\n'


def _stored_ids(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [event_id for (event_id,) in connection.execute("SELECT event_id FROM tastemaker.events").fetchall()]


def _wait(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not within {_SECONDS} s: {what}"
        time.sleep(0.02)


class _Stream:
    """Clients that send pairs of events without end, and send each again until it is acknowledged."""

    def __init__(self, wires: list[Any]) -> None:
        self.wires = wires
        self.acknowledged: list[int] = []
        self.failed: Counter[grpc.StatusCode] = Counter()
        self._numbers = itertools.count()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(4)]

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in self._threads:
                thread.join(_SECONDS)

    def wait_for_more(self, count: int) -> None:
        """Returns when `count` more calls are acknowledged."""
        until = len(self.acknowledged) + count
        _wait(lambda: len(self.acknowledged) >= until, f"{count} more acknowledged calls")

    def check(self, stored: list[str]) -> None:
        assert set(stored) >= {f"e{number}-{part}" for number in self.acknowledged for part in range(2)}
        assert len(stored) == len(set(stored))
        assert set(self.failed) <= {grpc.StatusCode.UNAVAILABLE}

    def _write(self, number_of_thread: int) -> None:
        while not self._ended.is_set():
            number = next(self._numbers)
            events = [make_event(f"e{number}-{part}", item_id=f"i{number}-{part}") for part in range(2)]
            while not self._ended.is_set():
                try:
                    self.wires[number_of_thread % len(self.wires)].feedback(*events)
                except grpc.RpcError as error:
                    self.failed[error.code()] += 1  # type: ignore[attr-defined]
                    self._ended.wait(0.02)
                else:
                    self.acknowledged.append(number)
                    break


def _is_serving(wire: Any, service: str) -> bool:
    request = health_pb2.HealthCheckRequest(service=service)
    status: int = health_pb2_grpc.HealthStub(wire.channel).Check(request, timeout=5).status
    return status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.slow
def test_killed_postgresql_costs_no_event_and_lists_go_on(
    own_postgres: PostgresServer, start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    url = own_postgres.make_database()
    front = start_front(_toml(url))
    wire = connect(front.address)
    wire.feedback(*[make_event(user, user_id=user, item_id="liked") for user in ("a", "b")])
    stream = _Stream([connect(front.address)])
    with stream.running():
        for _ in range(2):
            stream.wait_for_more(50)
            own_postgres.kill()
            assert wire.item_ids("somebody")[0] == "liked"
            _wait(lambda: not _is_serving(wire, "tastemaker.v1.FeedbackService"), "health shows the outage")
            assert _is_serving(wire, "tastemaker.v1.RecommendationService")
            own_postgres.start()
        stream.wait_for_more(50)
        _wait(lambda: _is_serving(wire, ""), "health shows that it is over")
    stream.check(_stored_ids(url))
    assert stream.failed[grpc.StatusCode.UNAVAILABLE] > 0
    assert front.process.poll() is None
    assert "let-me-in" not in "".join(front.log)


@pytest.fixture
def small_disk(own_postgres: PostgresServer) -> Iterator[Path]:
    """A disk of 20 MB, a tablespace called `small` on it."""
    folder = own_postgres.folder / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", folder], capture_output=True).returncode:
        pytest.skip("may not mount a small disk here")
    try:
        own_postgres.make_tablespace("small", folder / "data")
        yield folder
    finally:
        own_postgres.stop()
        subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
def test_full_disk_of_postgresql_costs_no_event_and_ends_when_there_is_room(
    own_postgres: PostgresServer, small_disk: Path, start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    url = own_postgres.make_database(tablespace="small")
    front = start_front(_toml(url))
    wire = connect(front.address)
    wire.feedback(*[make_event(user, user_id=user, item_id="liked") for user in ("a", "b")])
    stream = _Stream([connect(front.address)])
    with stream.running():
        stream.wait_for_more(20)
        filler = small_disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(65536))
        _wait(lambda: stream.failed[grpc.StatusCode.UNAVAILABLE] > 0, "the disk is full")
        with pytest.raises(grpc.RpcError, match="No space left on device"):
            wire.feedback(*[make_event(f"large-{number}", item_id="x" * 200) for number in range(500)])
        assert wire.item_ids("somebody")[0] == "liked"
        filler.unlink()
        stream.wait_for_more(50)
    stream.check(_stored_ids(url))
    assert front.process.poll() is None


@pytest.mark.slow
def test_killed_front_costs_no_event_and_another_goes_on(
    postgres_url: str, start_front: Callable[..., Any], connect: Callable[[str], Any], tmp_path: Any
) -> None:
    doomed = start_front(_toml(postgres_url), data_dir=tmp_path / "doomed")
    stream = _Stream([connect(doomed.address)])
    with stream.running():
        stream.wait_for_more(50)
        doomed.kill()
        heir = start_front(_toml(postgres_url), data_dir=tmp_path / "heir")
        stream.wires = [connect(heir.address)]
        stream.wait_for_more(50)
    stream.check(_stored_ids(postgres_url))
    wire = connect(heir.address)
    popular = {item.item_id: item.score for item in wire.recommend("other", max_results=100).items}
    assert len(popular) == 100
    assert set(popular.values()) == {1}


@pytest.mark.slow
def test_two_fronts_share_a_log_and_each_learns_what_the_other_was_told(
    postgres_url: str, start_front: Callable[..., Any], connect: Callable[[str], Any], tmp_path: Any
) -> None:
    fronts = [start_front(_toml(postgres_url), data_dir=tmp_path / name) for name in ("one", "two")]
    one, two = (connect(front.address) for front in fronts)
    stream = _Stream([connect(front.address) for front in fronts])
    with stream.running():
        assert one.feedback(make_event("a", item_id="x")).accepted_count == 1
        assert two.feedback(make_event("a", item_id="x")).duplicate_count == 1
        # Two people's, as each of the stream's items, soon more than a page, has one event.
        one.feedback(*[make_event(user, user_id=user, item_id="only-told-to-one") for user in ("b", "c")])
        _wait(lambda: "only-told-to-one" in two.item_ids("u3", max_results=100), "an event of the other front shows")
        stream.wait_for_more(100)
    assert not stream.failed
    stream.check(_stored_ids(postgres_url))


def test_wrong_settings_of_the_log_stop_the_start_with_the_setting_and_no_password(
    postgres_server: PostgresServer, start_front: Callable[..., Any]
) -> None:
    with pytest.raises(AssertionError, match="the front ended") as raised:
        start_front(_toml(postgres_server.url("nowhere")))
    assert "error: stores.event_log: postgresql://tastemaker:***@127.0.0.1" in str(raised.value)
    assert 'database "nowhere" does not exist; create it, or mend the URL' in str(raised.value)
    assert "Traceback" not in str(raised.value)
    assert "let-me-in" not in str(raised.value)
