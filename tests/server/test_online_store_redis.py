"""The online store on Redis keeps the contract, on one server and on a cluster, and names what is wrong."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tastemaker.artefacts.v1.lists_pb2 import LIST_KEY_USER
from tastemaker_server.errors import SettingsError, StoreUnavailableError
from tastemaker_server.online_store.redis import RedisOnlineStore
from tastemaker_server.testing import OnlineStoreContract, generation_info, list_of, logged, make_event

_POLICY = OnlineStoreContract.POLICY
Open = Callable[..., RedisOnlineStore]


@pytest.fixture
async def open_store() -> AsyncIterator[Open]:
    """Opens stores: `open_store(url, timeout_seconds=5)`."""
    opened: list[RedisOnlineStore] = []

    def start(url: str, timeout_seconds: float = 5) -> RedisOnlineStore:
        opened.append(RedisOnlineStore(url, policy=_POLICY, timeout_seconds=timeout_seconds))
        return opened[-1]

    yield start
    for store in opened:
        await store.close()


class TestRedisOnlineStore(OnlineStoreContract):
    @pytest.fixture
    def online_store(self, redis: Any, open_store: Open) -> RedisOnlineStore:
        return open_store(redis.url)


class TestRedisClusterOnlineStore(OnlineStoreContract):
    @pytest.fixture
    def online_store(self, redis_cluster: Any, open_store: Open) -> RedisOnlineStore:
        return open_store(redis_cluster.url)


async def test_concurrent_reads_share_round_trips(start_redis: Callable[..., Any], open_store: Open) -> None:
    server = start_redis()
    store = open_store(server.url)
    await store.apply([logged(1, make_event("a", user_id="u1"))], after=0)
    await store.put_lists("home", 1, [(f"u{number}", list_of(f"i{number}")) for number in range(100)])
    await store.activate_lists("home", generation_info(1))
    await store.read_list("home", {LIST_KEY_USER: "u0"})
    server.command("CONFIG", "RESETSTAT")
    found = await asyncio.gather(*(store.read_list("home", {LIST_KEY_USER: f"u{number}"}) for number in range(100)))
    assert [one.ranked.item_ids for one in found if one and one.ranked] == [[f"i{number}"] for number in range(100)]
    reads = dict(line.split(":", 1) for line in server.command("INFO", "stats").splitlines() if ":" in line)
    assert int(reads["total_reads_processed"]) < 20  # of which two are this test's own commands


async def test_hung_server_is_an_error_within_the_time_limit_and_works_again(
    start_redis: Callable[..., Any], open_store: Open
) -> None:
    server = start_redis()
    store = open_store(server.url, timeout_seconds=0.2)
    await store.apply([logged(1, make_event("a"))], after=0)
    assert await store.user_state("u2") is None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(20):
            results = await asyncio.gather(*(store.user_state("u1") for _ in range(50)), return_exceptions=True)
        assert {str(result) for result in results} == {
            f"online_store is unavailable: stores.online_store {server.url}: (no answer within 0.2 s)"
        }
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert await open_store(server.url).user_state("u1") is not None  # it is back
    assert await store.user_state("u2") is None  # the late answers about u1 are nobody's
    assert await store.user_state("u1") is not None


async def test_server_that_was_killed_is_an_error_and_works_again(
    start_redis: Callable[..., Any], open_store: Open
) -> None:
    server = start_redis()
    store = open_store(server.url)
    await store.apply([logged(1, make_event("a"))], after=0)
    server.kill()
    for _ in range(3):
        with pytest.raises(StoreUnavailableError, match=f"stores.online_store {server.url}: .*[Cc]onnect"):
            await store.user_state("u1")
    server.start()
    assert await store.user_state("u1") is not None


async def test_password_is_asked_for_by_the_settings_name_and_not_shown(
    start_redis: Callable[..., Any], open_store: Open
) -> None:
    server = start_redis("--requirepass", "right")
    good = open_store(f"redis://:right@127.0.0.1:{server.port}")
    await good.check()
    for url in (f"redis://:wr0ng@127.0.0.1:{server.port}", f"redis://u:wr0ng@127.0.0.1:{server.port}", server.url):
        with pytest.raises(StoreUnavailableError, match=r"stores\.online_store .*user or password") as raised:
            await open_store(url).check()
        assert "wr0ng" not in str(raised.value)


async def test_full_memory_is_named_and_leaves_no_half_generation(
    start_redis: Callable[..., Any], open_store: Open
) -> None:
    server = start_redis("--maxmemory", "10mb")
    store = open_store(server.url)
    await store.put_lists("home", 1, [("u1", list_of("a"))])
    await store.activate_lists("home", generation_info(1))
    large = list_of(*[f"item-{number}" for number in range(300)])
    with pytest.raises(StoreUnavailableError, match=r"stores\.online_store .*raise its maxmemory"):
        await store.put_lists("home", 2, ((f"u{number}", large) for number in range(10_000)))
    assert server.command("--scan", "--pattern", "tm:list:home:2:*") == ""
    assert await store.list_generations("home") == [generation_info(1)]


async def test_replica_is_named(start_redis: Callable[..., Any], open_store: Open) -> None:
    primary = start_redis()
    replica = start_redis("--replicaof", f"127.0.0.1 {primary.port}", "--replica-serve-stale-data", "yes")
    with pytest.raises(StoreUnavailableError, match=r"stores\.online_store .*it is a replica: name the primary"):
        await open_store(replica.url).apply([logged(1, make_event("a"))], after=0)


async def test_older_generations_and_unfinished_ones_go_away_by_themselves(
    start_redis: Callable[..., Any], open_store: Open
) -> None:
    server = start_redis()
    store = open_store(server.url)
    for generation in (1, 2, 3):
        await store.put_lists("home", generation, [("u1", list_of("a"))])
        assert int(server.command("TTL", _only_key(server, generation))) > 0
        await store.activate_lists("home", generation_info(generation))
        assert int(server.command("TTL", _only_key(server, generation))) == -1
    assert 0 < int(server.command("TTL", _only_key(server, 1))) <= 60
    assert int(server.command("TTL", _only_key(server, 2))) == -1


def test_url_that_cannot_be_read_is_refused_without_its_password() -> None:
    with pytest.raises(SettingsError, match=r"stores\.online_store: redis://u:\*\*\*@host:x") as raised:
        RedisOnlineStore("redis://u:secret@host:x/0", policy=_POLICY, timeout_seconds=1)
    assert "secret" not in str(raised.value)


def _only_key(server: Any, generation: int) -> str:
    (key,) = server.command("--scan", "--pattern", f"tm:list:home:{generation}:*").split()
    return str(key)
