"""What ends a publication in the middle: kills, a Redis that goes away, stores without room. Readers are at work."""

import contextlib
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.server.lists_on_disk import write_config, write_lists

from tastemaker.v1 import recommendation_service_pb2 as pb
from tastemaker_server.errors import StoreUnavailableError
from tastemaker_server.main import main
from tastemaker_server.online_store.redis import RedisOnlineStore
from tastemaker_server.testing import OnlineStoreContract, generation_info, list_of

_USERS = [f"u{number}" for number in range(20)]
_CROWD = 30_000
_SURFACE = '[surfaces.home]\ntiers = ["PRECOMPUTED", "POPULAR"]\n'

# Dies by itself where a line of code is reached: at a moment that no signal from outside can hit.
_DIE_AT = """
import os, signal, sys
from tastemaker_server.main import main
from tastemaker_server.online_store import {module}
async def die(*arguments): os.kill(os.getpid(), signal.SIGKILL)
{module}.{place} = die
main(sys.argv[1:])
"""
_PLACES = {
    "sqlite": [("sqlite_lists", "SqliteLists.activate_lists")],
    "redis": [("redis_lists", "RedisLists.activate_lists"), ("redis_lists", "RedisGenerations.switch")],
}
"""Between the last list and the switch: before it begins, and after the lists have been made to stay."""


class _Readers:
    """Reads pages again and again, and notes which generation and which items they came from."""

    def __init__(self, wire: Any, *, may_fail: bool = False) -> None:
        self.seen: set[tuple[int, str]] = set()
        self.failures: list[BaseException] = []
        self.refused = threading.Event()
        self._wire = wire
        self._may_fail = may_fail
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        try:
            while not self._stop.is_set():
                for user in _USERS:
                    self._read_one(user)
        except BaseException as error:
            self.failures.append(error)

    def _read_one(self, user: str) -> None:
        try:
            response = self._wire.recommend(user)
        except grpc.RpcError as error:
            if not self._may_fail or error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            self.refused.set()
            return
        (report,) = [one for one in response.tier_reports if one.tier == pb.TIER_PRECOMPUTED]
        self.seen.update((report.list_generation, item.item_id.split("-")[0]) for item in response.items)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()
        assert not self.failures


def _write(root: Path, generation: int) -> Path:
    own = {user: list_of(*[f"g{generation}-{place}" for place in range(10)]) for user in _USERS}
    whole = list_of(*[f"i{item}" for item in range(200)])
    return write_lists(root, generation, {f"crowd-{number}": whole for number in range(_CROWD)} | own)


def _command(config: Path, lists: Path) -> list[str]:
    return ["publish-lists", "--config", str(config), "--lists", str(lists)]


def _publish(config: Path, lists: Path) -> None:
    command = [sys.executable, "-m", "tastemaker_server.main", *_command(config, lists)]
    subprocess.run(command, check=True, timeout=60, capture_output=True)


@contextlib.contextmanager
def _stopped_while_loading(config: Path, lists: Path, is_loading: Callable[[], bool]) -> Iterator[Any]:
    """A publisher that stands still with some of the lists in the store, and has ended after the block."""
    command = [sys.executable, "-m", "tastemaker_server.main", *_command(config, lists)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as publisher:
        try:
            while not is_loading():
                assert publisher.poll() is None
            publisher.send_signal(signal.SIGSTOP)
            yield publisher
        finally:
            publisher.send_signal(signal.SIGCONT)


def _active(capsys: pytest.CaptureFixture[str], config: Path) -> str:
    """What `lists` shows of the active generation, up to its number."""
    capsys.readouterr()
    assert main(["lists", "--config", str(config)]) == 0
    return " ".join(capsys.readouterr().out.splitlines()[0].split()[:4])


def _loading_into(backend: str, data_dir: Path, redis: Any) -> Callable[[], bool]:
    if backend == "sqlite":
        return lambda: any(path.stat().st_size > 100_000 for path in (data_dir / "lists").glob("home-2-*.db"))
    return lambda: redis.command("--scan", "--pattern", "tm:list:home:2:*") != ""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["sqlite", "redis"])
def test_front_at_work_never_mixes_generations_and_a_killed_publisher_is_run_again(
    tmp_path: Path,
    start_front: Callable[..., Any],
    connect: Callable[[str], Any],
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    backend: str,
) -> None:
    redis = request.getfixturevalue("start_redis")() if backend == "redis" else None
    patient = "online_store_timeout_milliseconds = 20_000"  # nobody is to fail because the machine is busy
    stores = f'[stores]\nonline_store = "{redis.url}"\n{patient}\n' if redis is not None else ""
    front = start_front(stores + _SURFACE)
    wire = connect(front.address)
    config = write_config(tmp_path, front.data_dir, stores)
    _publish(config, _write(tmp_path, 1))
    readers = _Readers(wire)
    with readers.at_work():
        lists = _write(tmp_path, 2)
        with _stopped_while_loading(config, lists, _loading_into(backend, front.data_dir, redis)) as publisher:
            publisher.kill()
        assert publisher.returncode == -signal.SIGKILL
        assert _active(capsys, config) == "home active generation 1"
        for module, place in _PLACES[backend]:
            code = _DIE_AT.format(module=module, place=place)
            died = subprocess.run([sys.executable, "-c", code, *_command(config, lists)], timeout=60, check=False)
            assert died.returncode == -signal.SIGKILL
            assert _active(capsys, config) == "home active generation 1"
            assert wire.item_ids("u1")[0] == "g1-0"
        _publish(config, lists)
        assert wire.item_ids("u1")[0] == "g2-0"
        _publish(config, _write(tmp_path, 3))
        assert wire.item_ids("u1")[0] == "g3-0"
    assert readers.seen == {(1, "g1"), (2, "g2"), (3, "g3")}


@pytest.mark.slow
def test_redis_killed_while_lists_are_loaded_ends_the_publication_and_mixes_nothing(
    tmp_path: Path,
    start_redis: Callable[..., Any],
    start_front: Callable[..., Any],
    connect: Callable[[str], Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    redis = start_redis()
    stores = f'[stores]\nonline_store = "{redis.url}"\n'
    front = start_front(stores + _SURFACE)
    wire = connect(front.address)
    config = write_config(tmp_path, front.data_dir, stores)
    _publish(config, _write(tmp_path, 1))
    readers = _Readers(wire, may_fail=True)
    with readers.at_work():
        lists = _write(tmp_path, 2)
        with _stopped_while_loading(config, lists, _loading_into("redis", front.data_dir, redis)) as publisher:
            redis.kill()
            publisher.send_signal(signal.SIGCONT)
            _, told = publisher.communicate(timeout=60)
        assert publisher.returncode == 1
        assert f"error: online_store is unavailable: stores.online_store {redis.url}: " in told
        assert "Traceback" not in told
        assert readers.refused.wait(30)
        redis.start()
        assert _active(capsys, config) == "home active generation 1"
        _publish(config, lists)
        assert wire.item_ids("u1")[0] == "g2-0"
    assert readers.seen == {(1, "g1"), (2, "g2")}


def test_publisher_says_which_redis_is_away_or_refuses_the_password(
    tmp_path: Path, start_redis: Callable[..., Any], free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = write_lists(tmp_path, 1, {"u1": list_of("a")})
    locked = start_redis("--requirepass", "right")
    for url, shown, cause in (
        (f"redis://127.0.0.1:{free_port}", f"redis://127.0.0.1:{free_port}", "it cannot be reached: start it"),
        (
            f"redis://:wr0ng@127.0.0.1:{locked.port}",
            f"redis://:***@127.0.0.1:{locked.port}",
            "it refuses the user or password: mend them in the URL",
        ),
    ):
        config = write_config(tmp_path, tmp_path / "data", f'[stores]\nonline_store = "{url}"\n')
        assert main(_command(config, lists)) == 1
        told = capsys.readouterr()
        assert told.out == ""
        assert f"error: online_store is unavailable: stores.online_store {shown}" in told.err
        assert cause in told.err
        assert "wr0ng" not in told.err


def test_publisher_to_a_full_redis_says_so_and_the_old_generation_stays(
    tmp_path: Path, start_redis: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    redis = start_redis("--maxmemory", "10mb", "--maxmemory-policy", "noeviction")
    config = write_config(tmp_path, tmp_path / "data", f'[stores]\nonline_store = "{redis.url}"\n')
    assert main(_command(config, write_lists(tmp_path, 1, {"u1": list_of("a")}))) == 0
    large = list_of(*[f"item-{number}" for number in range(300)])
    lists = write_lists(tmp_path, 2, {f"u{number}": large for number in range(10_000)})
    assert main(_command(config, lists)) == 1
    assert "its memory is full: raise its maxmemory, or publish shorter lists" in capsys.readouterr().err
    assert _active(capsys, config) == "home active generation 1"
    assert redis.command("--scan", "--pattern", "tm:list:home:2:*") == ""


def test_publisher_on_a_full_disk_says_so_and_the_old_generation_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, tmp_path / "data")
    assert main(_command(config, write_lists(tmp_path, 1, {"u1": list_of("a")}))) == 0
    large = list_of(*[f"item-{number}" for number in range(300)])
    lists = write_lists(tmp_path, 2, {f"u{number}": large for number in range(10_000)})

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    command = [sys.executable, "-m", "tastemaker_server.main", *_command(config, lists)]
    ended = subprocess.run(command, preexec_fn=little_room, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "error: online_store is unavailable: " in ended.stderr
    assert f"{tmp_path}/data/lists/home-2-" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert _active(capsys, config) == "home active generation 1"
    assert not list((tmp_path / "data" / "lists").glob("home-2-*"))
    assert main(_command(config, lists)) == 0


async def test_lists_that_redis_lost_before_the_switch_are_counted_and_nothing_is_switched(
    start_redis: Callable[..., Any],
) -> None:
    redis = start_redis()
    store = RedisOnlineStore(redis.url, policy=OnlineStoreContract.POLICY, timeout_seconds=5)
    try:
        await store.put_lists("home", 1, [("u1", list_of("a"))])
        await store.activate_lists("home", generation_info(1))
        await store.put_lists("home", 2, [(f"u{number}", list_of("b")) for number in range(100)])
        lost = redis.command("--scan", "--pattern", "tm:list:home:2:*").split()[0]  # as an eviction takes it
        count = int(redis.command("HLEN", lost))
        redis.command("UNLINK", lost)
        message = rf"it lost {count} of 100 lists of generation 2 of 'home' before .* publish it again"
        with pytest.raises(StoreUnavailableError, match=message):
            await store.activate_lists("home", generation_info(2))
        assert await store.list_generations("home") == [generation_info(1)]
        await store.put_lists("home", 2, [(f"u{number}", list_of("b")) for number in range(100)])
        await store.activate_lists("home", generation_info(2))
    finally:
        await store.close()
