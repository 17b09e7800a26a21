"""docs/metrics.md names what a running front exports, and nothing else."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.servers.predicting import Predicting
from tests.servers.prometheus import documented, front_metrics_url, scrape, scrape_until

from tastemaker.v1 import recommendation_service_pb2 as pb
from tastemaker_server.online_store.sqlite import SqliteOnlineStore
from tastemaker_server.testing import OnlineStoreContract, generation_info, list_of, make_event


async def _publish(data_dir: Path) -> None:
    store = SqliteOnlineStore(data_dir / "online.db", policy=OnlineStoreContract.POLICY)
    await store.put_lists("home", 1, [("u1", list_of("p1"))])
    await store.activate_lists("home", generation_info(1))
    await store.close()


def test_documented_metrics_are_those_of_a_front_that_has_done_everything(
    start_front: Callable[..., Any],
    connect: Callable[[str], Any],
    predicting: tuple[Predicting, str],
    call_error: Callable[..., Any],
    tmp_path: Path,
) -> None:
    (data_dir := tmp_path / "front").mkdir()
    asyncio.run(_publish(data_dir))
    handler, settings = predicting
    front = start_front(f'[metrics]\naddress = "127.0.0.1:0"\n{settings}', data_dir=data_dir)
    url, wire = front_metrics_url(front.log), connect(front.address)
    wire.feedback(make_event("a"))
    assert wire.recommend("u1", timeout=30).tier == pb.TIER_LIVE_MODEL
    handler.is_broken = True
    wire.recommend("u1", timeout=30)
    call_error(wire.recommend, "u1", "nowhere")
    scrape_until(url, lambda seen: seen.samples("tastemaker_front_list_generation"))
    seen = scrape(url)
    assert all(family.documentation for family in seen.families.values())
    assert seen.described() == documented("Front")
