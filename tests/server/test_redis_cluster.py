"""The online store on a Redis Cluster of several nodes: the contract, and what a killed master costs whom."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest
from tests.servers.redis import RedisCluster

from tastemaker.v1 import recommendation_service_pb2 as pb
from tastemaker_server.errors import StoreUnavailableError
from tastemaker_server.online_store.redis import RedisOnlineStore
from tastemaker_server.testing import OnlineStoreContract, generation_info, list_of, make_event

pytestmark = pytest.mark.slow
_USERS = [f"u{number}" for number in range(60)]


class TestRedisClusterOfThreeMasters(OnlineStoreContract):
    @pytest.fixture
    async def online_store(self, three_masters: RedisCluster) -> AsyncIterator[RedisOnlineStore]:
        store = RedisOnlineStore(three_masters.url, policy=self.POLICY, timeout_seconds=5)
        yield store
        await store.close()


async def _publish(store: RedisOnlineStore, generation: int, *, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Publishes lists that name their generation, for `_USERS` and a crowd; calls `meanwhile` when half are given."""

    def lists() -> Iterator[tuple[str, bytes]]:
        for number in range(30_000):
            if number == 15_000:
                meanwhile()
            yield f"crowd-{number}", list_of(f"g{generation}")
        for user in _USERS:
            yield user, list_of(*[f"g{generation}-{place}" for place in range(10)])

    await store.put_lists("home", generation, lists())
    await store.activate_lists("home", generation_info(generation))


class _Readers:
    """Asks a front for all users' pages without end, and keeps which generation and which items came."""

    def __init__(self, wire: Any) -> None:
        self.pages: list[tuple[float, str, int, str]] = []
        """Asked when, for whom, which generation (0: another tier), and the prefix of the first item."""
        self.failures: list[tuple[float, str, grpc.StatusCode]] = []
        self._wire = wire
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> "_Readers":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._stop.is_set():
            for user in _USERS:
                asked_at = time.monotonic()
                try:
                    response = self._wire.recommend(user, timeout=2)
                except grpc.RpcError as error:
                    self.failures.append((time.monotonic(), user, error.code()))  # type: ignore[attr-defined]
                    continue
                items = {item.item_id.split("-")[0] for item in response.items if item.tier == pb.TIER_PRECOMPUTED}
                assert len(items) <= 1
                generation = response.tier_reports[0].list_generation
                self.pages.append((asked_at, user, generation, items.pop() if items else ""))


@pytest.mark.faults
@pytest.mark.parametrize("has_the_pointers", [True, False])
async def test_killed_master_costs_some_users_their_lists_for_seconds_and_no_list_is_mixed(
    own_redis_cluster: RedisCluster,
    start_front: Callable[..., Any],
    connect: Callable[[str], Any],
    has_the_pointers: bool,
) -> None:
    cluster = own_redis_cluster
    store = RedisOnlineStore(cluster.url, policy=OnlineStoreContract.POLICY, timeout_seconds=5)
    await _publish(store, 1)
    pointers, counts = cluster.master_of("tm:{lists}"), cluster.master_of("tm:{popular}:counts")
    doomed = pointers if has_the_pointers else next(n for n in cluster.masters() if n not in (pointers, counts))
    front = start_front(
        f'[stores]\nonline_store = "{cluster.url}"\n[surfaces.home]\ntiers = ["PRECOMPUTED", "POPULAR"]\n'
    )
    wire = connect(front.address)
    wire.feedback(make_event("a", user_id="somebody", item_id="liked"))
    assert wire.item_ids("nobody") == ["liked"]  # from here on the front knows what is popular
    alive = {user for user in _USERS if cluster.master_of(f"tm:user:{{{user}}}") is not doomed}
    assert 0 < len(alive) < len(_USERS)

    killed_at = 0.0

    def kill() -> None:
        nonlocal killed_at
        doomed.kill()
        killed_at = time.monotonic()

    with _Readers(wire) as readers:
        with pytest.raises(StoreUnavailableError, match=r"stores\.online_store redis\+cluster://"):
            await _publish(store, 2, meanwhile=kill)
        await asyncio.to_thread(cluster.wait_until_whole)
        whole_at = time.monotonic()
        await _until(lambda: {page[1] for page in readers.pages if page[0] > whole_at} == set(_USERS))
        await _publish(store, 2)  # the same command again
        published_at = time.monotonic()
        await _until(lambda: {page[1] for page in readers.pages if page[0] > published_at} == set(_USERS))
    assert (await store.rollback_lists("home")).generation == 1
    assert wire.item_ids(_USERS[0])[0] == "g1-0"
    await store.close()

    assert {(generation, item) for _, _, generation, item in readers.pages} - {(0, "")} == {(1, "g1"), (2, "g2")}
    assert {page[2] for page in readers.pages if page[0] > published_at} == {2}
    during = [page for page in readers.pages if killed_at < page[0] < whole_at]
    assert alive <= {user for _, user, _, _ in during}
    assert {code for _, _, code in readers.failures} <= {grpc.StatusCode.UNAVAILABLE}
    assert not alive & {user for at, user, _ in readers.failures if at > killed_at}
    if has_the_pointers:
        assert {generation for _, _, generation, _ in during} >= {0}  # the next tier answered


async def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "not within 60 s"
        await asyncio.sleep(0.05)
