"""Publishing lists from their files: what is refused, what is left out, and what readers see then."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.server.lists_on_disk import write_config, write_lists

from tastemaker.artefacts.v1.lists_pb2 import LIST_KEY_ITEM, LIST_KEY_SEGMENT, LIST_KEY_USER
from tastemaker.v1 import recommendation_service_pb2 as pb
from tastemaker_server.event_log.sqlite import SqliteEventLog
from tastemaker_server.list_files import BadListsError, read_manifest, read_shards
from tastemaker_server.main import main
from tastemaker_server.online_store.sqlite import SqliteOnlineStore
from tastemaker_server.publication import publish_lists
from tastemaker_server.settings import SurfaceSettings, TierName
from tastemaker_server.testing import OnlineStoreContract, list_of, make_event

_SURFACES = {
    "home": SurfaceSettings(tiers=(TierName.PRECOMPUTED, TierName.POPULAR), popular_lists="top"),
    "product": SurfaceSettings(tiers=(TierName.PRECOMPUTED,), lists="similar"),
}


def _edit(folder: Path, generation: int, /, **changes: Any) -> None:
    path = folder / str(generation) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
async def log(tmp_path: Path) -> Any:
    log = SqliteEventLog(tmp_path / "events.db")
    yield log
    await log.close()


@pytest.fixture
async def store(tmp_path: Path) -> Any:
    store = SqliteOnlineStore(tmp_path / "online.db", policy=OnlineStoreContract.POLICY)
    yield store
    await store.close()


async def test_newest_complete_generation_is_published(
    tmp_path: Path, store: SqliteOnlineStore, log: SqliteEventLog
) -> None:
    folder = write_lists(tmp_path, 9, {f"u{number}": list_of("of-9") for number in range(100)})
    write_lists(tmp_path, 10, {f"u{number}": list_of("of-10") for number in range(100)})
    write_lists(tmp_path, 11, {"u1": list_of("of-11")})
    (folder / "11" / "manifest.json").unlink()
    told: list[tuple[int, int]] = []
    published = await publish_lists(
        store, log, _SURFACES, folder, progress=lambda done, total: told.append((done, total))
    )
    info = published.generation
    assert (info.generation, info.list_count, info.created_time_micros) == (10, 100, 1_700_000_000_000_000)
    assert told[-1] == (100, 100)
    for number in range(100):
        found = await store.read_list("home", {LIST_KEY_USER: f"u{number}"})
        assert found is not None
        assert found.ranked is not None
        assert found.ranked.item_ids == ["of-10"]
    assert await publish_lists(store, log, _SURFACES, folder) == published  # again: nothing to do


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"contractVersion": 2}, "contract_version is 2; this front reads 1"),
        ({"name": "hoem"}, "name is 'hoem'; the folder is 'home'"),
        ({"generation": "7"}, "generation is 7; the folder is 1"),
        ({"key": "LIST_KEY_UNSPECIFIED"}, "key is not set"),
        ({"key": "LIST_KEY_SEGMENT"}, "'home' is keyed by segment; its surfaces look up by item or user"),
        ({"listCount": "0", "shards": []}, "list_count is 0"),
        ({"listCount": "7"}, "list_count is 7, and not the sum over the shards"),
        ({"generation": "x"}, "not a manifest"),
    ],
)
async def test_manifest_that_does_not_fit_is_refused(
    tmp_path: Path, store: SqliteOnlineStore, log: SqliteEventLog, changes: dict[str, Any], problem: str
) -> None:
    folder = write_lists(tmp_path, 1, {"u1": list_of("a"), "u2": list_of("b")})
    _edit(folder, 1, **changes)
    with pytest.raises(BadListsError, match=problem):
        await publish_lists(store, log, _SURFACES, folder)
    assert await store.list_names() == []


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (_truncate, r"part-1\.parquet: has \d+ bytes, and \d+ in the manifest"),
        (_flip, r"part-1\.parquet: its SHA-256 is not the one"),
        (Path.unlink, r"part-1\.parquet: cannot be read: No such file"),
    ],
)
async def test_damaged_shard_is_refused_and_the_old_generation_stays(
    tmp_path: Path, store: SqliteOnlineStore, log: SqliteEventLog, damage: Callable[[Path], None], problem: str
) -> None:
    folder = write_lists(tmp_path, 1, {"u1": list_of("a"), "u2": list_of("b")})
    first = (await publish_lists(store, log, _SURFACES, folder)).generation
    write_lists(tmp_path, 2, {"u1": list_of("c"), "u2": list_of("d")})
    damage(folder / "2" / "part-1.parquet")
    with pytest.raises(BadListsError, match=problem):
        await publish_lists(store, log, _SURFACES, folder)
    assert await store.list_generations("home") == [first]


async def test_shard_with_another_number_of_lists_is_refused(
    tmp_path: Path, store: SqliteOnlineStore, log: SqliteEventLog
) -> None:
    folder = write_lists(tmp_path, 1, {"u1": list_of("a"), "u2": list_of("b")})
    shards = json.loads((folder / "1" / "manifest.json").read_text())["shards"]
    shards[0]["listCount"], shards[1]["listCount"] = "2", "0"
    _edit(folder, 1, shards=shards)
    with pytest.raises(BadListsError, match=r"part-0\.parquet: has 1 lists, and 2 in the manifest"):
        await publish_lists(store, log, _SURFACES, folder)
    assert await store.list_names() == []


async def test_reading_ahead_stops_with_whoever_reads(tmp_path: Path) -> None:
    folder = write_lists(tmp_path, 1, {f"u{number}": list_of("a") for number in range(40_000)})
    lists = read_shards(folder / "1", read_manifest(folder, 1))
    first = [next(lists) for _ in range(3)]
    assert [key for key, _ in first] == ["u0", "u2", "u4"]
    assert any("lists-reader" in thread.name for thread in threading.enumerate())
    lists.close()  # type: ignore[attr-defined]  # a generator
    assert not any("lists-reader" in thread.name for thread in threading.enumerate())


async def test_older_generation_needs_force(tmp_path: Path, store: SqliteOnlineStore, log: SqliteEventLog) -> None:
    folder = write_lists(tmp_path, 5, {"u1": list_of("a")})
    await publish_lists(store, log, _SURFACES, folder)
    write_lists(tmp_path, 3, {"u1": list_of("b")})
    with pytest.raises(BadListsError, match="generation 3 of 'home' is older than the active one, 5"):
        await publish_lists(store, log, _SURFACES, folder, generation=3)
    await publish_lists(store, log, _SURFACES, folder, generation=3, force=True)
    assert [info.generation for info in await store.list_generations("home")] == [3, 5]
    with pytest.raises(BadListsError, match="use rollback-lists"):
        await publish_lists(store, log, _SURFACES, folder, generation=5, force=True)


async def test_other_kind_of_key_than_the_active_generation_needs_force(
    tmp_path: Path, store: SqliteOnlineStore, log: SqliteEventLog
) -> None:
    folder = write_lists(tmp_path, 1, {"u1": list_of("a")})
    await publish_lists(store, log, _SURFACES, folder)
    write_lists(tmp_path, 2, {"i1": list_of("b")}, key=LIST_KEY_ITEM)
    with pytest.raises(BadListsError, match="is keyed by item and the active one by user"):
        await publish_lists(store, log, _SURFACES, folder)


async def test_name_that_no_surface_reads_is_refused(
    tmp_path: Path, store: SqliteOnlineStore, log: SqliteEventLog
) -> None:
    folder = write_lists(tmp_path, 1, {"u1": list_of("a")}, name="hoem")
    with pytest.raises(BadListsError, match="no surface reads lists called 'hoem'; those read are: home, similar, top"):
        await publish_lists(store, log, _SURFACES, folder)


async def test_user_erased_after_the_data_was_taken_has_no_list_whenever_it_is_loaded(
    tmp_path: Path, store: SqliteOnlineStore, log: SqliteEventLog
) -> None:
    lists = {user: list_of("i1") for user in ("u1", "u2", "u3", "u4")}
    await log.append([make_event(user, user_id=user) for user in lists], 1)
    taken = await log.last_position()
    await log.erase_user("u1")
    await log.erase_user("u2")
    await log.append([make_event("back", user_id="u2")], 2)  # who came back after the data was taken
    folder = write_lists(tmp_path / "lists", 1, lists, event_log_position=taken)
    write_lists(tmp_path / "lists", 2, lists, event_log_position=taken + 1)  # computed after the erasure
    write_lists(tmp_path / "lists", 3, lists, event_log_position=0)  # of ratings: nobody knows from when
    for generation, expected in ((1, {"u3", "u4"}), (2, set(lists)), (3, {"u3", "u4"})):
        published = await publish_lists(store, log, _SURFACES, folder, generation=generation)
        found = {user: await store.read_list("home", {LIST_KEY_USER: user}) for user in lists}
        assert {user for user, one in found.items() if one is not None and one.ranked is not None} == expected
        assert (published.generation.generation, published.erased) == (generation, len(lists) - len(expected))


async def test_user_erased_between_the_look_at_the_log_and_the_switch_has_no_list(
    tmp_path: Path, store: SqliteOnlineStore, log: SqliteEventLog
) -> None:
    lists = {f"u{number}": list_of("i1") for number in range(20)}
    folder = write_lists(tmp_path / "lists", 1, lists)
    loop = asyncio.get_running_loop()

    async def erase() -> None:
        await log.erase_user("u19")
        await store.erase_user("u19")

    def erase_once(done: int, total: int) -> None:
        if done == 1:  # told in the thread that draws lists, once the log has been asked
            asyncio.run_coroutine_threadsafe(erase(), loop).result(30)

    await publish_lists(store, log, _SURFACES, folder, progress=erase_once)
    found = {user: await store.read_list("home", {LIST_KEY_USER: user}) for user in lists}
    assert [user for user, one in found.items() if one is None or one.ranked is None] == ["u19"]


async def test_item_called_as_a_user_who_was_erased_keeps_its_list(
    tmp_path: Path, store: SqliteOnlineStore, log: SqliteEventLog
) -> None:
    await log.erase_user("u1")
    folder = write_lists(tmp_path / "lists", 1, {"u1": list_of("i1")}, name="similar", key=LIST_KEY_ITEM)
    await publish_lists(store, log, _SURFACES, folder)
    found = await store.read_list("similar", {LIST_KEY_ITEM: "u1"})
    assert found is not None
    assert found.ranked is not None


def test_health_shows_whether_lists_are_there_and_young_enough(
    tmp_path: Path, start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    front = start_front('[surfaces.home]\ntiers = ["PRECOMPUTED", "POPULAR"]\nmax_list_age_hours = 24\n')
    health = health_pb2_grpc.HealthStub(connect(front.address).channel)
    watch = health.Watch(health_pb2.HealthCheckRequest(service="lists/home"), timeout=30)
    config = ["--config", str(write_config(tmp_path, front.data_dir))]
    now = int(time.time())
    shown = [next(watch).status]
    for generation, age_hours in ((1, 23), (2, 25)):
        folder = write_lists(tmp_path, generation, {"u1": list_of("a")}, created_seconds=now - age_hours * 3600)
        assert main(["publish-lists", *config, "--lists", str(folder)]) == 0
        shown.append(next(watch).status)  # waits for the change
    whole = health.Check(health_pb2.HealthCheckRequest(), timeout=5).status
    watch.cancel()
    response = health_pb2.HealthCheckResponse
    assert shown == [response.NOT_SERVING, response.SERVING, response.NOT_SERVING]
    assert whole == response.SERVING
    logged = "".join(front.log)
    assert "WARNING tastemaker_server.list_freshness: lists/home: missing: no generation is published" in logged
    assert "lists/home: fresh: generation 1, 1 lists, computed 23.0 h ago" in logged
    assert "WARNING tastemaker_server.list_freshness: lists/home: old: generation 2, 1 lists" in logged


def test_health_and_log_tell_of_popular_lists_too(
    tmp_path: Path, start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    surface = '[surfaces.home]\ntiers = ["POPULAR"]\npopular_lists = "top"\n'
    front = start_front(surface)
    health = health_pb2_grpc.HealthStub(connect(front.address).channel)
    watch = health.Watch(health_pb2.HealthCheckRequest(service="lists/top"), timeout=30)
    shown = [next(watch).status]
    config = tmp_path / "publish.toml"
    config.write_text(f'[server]\ndata_dir = "{front.data_dir}"\n{surface}')
    folder = write_lists(
        tmp_path, 1, {"": list_of("a")}, name="top", key=LIST_KEY_SEGMENT, created_seconds=int(time.time())
    )
    assert main(["publish-lists", "--config", str(config), "--lists", str(folder)]) == 0
    shown.append(next(watch).status)
    watch.cancel()
    assert shown == [health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING]
    with pytest.raises(grpc.RpcError):  # POPULAR reads "top", and nothing "home"
        health.Check(health_pb2.HealthCheckRequest(service="lists/home"), timeout=5)
    logged = "".join(front.log)
    assert "WARNING tastemaker_server.list_freshness: lists/top: missing: no generation is published" in logged
    assert "INFO tastemaker_server.list_freshness: lists/top: fresh: generation 1, 1 lists" in logged


def test_commands_publish_show_and_roll_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config = ["--config", str(write_config(tmp_path, tmp_path / "data"))]
    folder = write_lists(tmp_path, 1, {"u1": list_of("a")})
    publish = ["publish-lists", *config, "--lists", str(folder)]
    assert main(["lists", *config]) == 0
    assert capsys.readouterr().out == "no lists are published\n"
    assert main(["rollback-lists", *config, "home"]) == 1
    assert "error: 'home' has no generation before the active one" in capsys.readouterr().err
    assert main(publish) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("home: generation 1 (1 lists by user, computed ")
    assert "1 of 1 lists, 100 %" in caplog.text
    write_lists(tmp_path, 2, {"u1": list_of("a"), "u2": list_of("b")})
    assert main([*config, *publish]) == 0
    assert main(["rollback-lists", *config, "home"]) == 0
    capsys.readouterr()
    assert main(["lists", *config]) == 0
    active, previous = capsys.readouterr().out.splitlines()
    assert active.split()[:4] == ["home", "active", "generation", "1"]
    assert previous.split()[:4] == ["home", "previous", "generation", "2"]
    _edit(folder, 2, contractVersion=3)
    assert main([*publish, "--generation", "2"]) == 1
    assert "contract_version is 3" in capsys.readouterr().err
    assert main(["publish-lists", *config, "--lists", str(tmp_path / "nowhere")]) == 1
    assert "nowhere has no complete generation" in capsys.readouterr().err


def test_lists_by_item_and_by_segment_answer(
    tmp_path: Path, start_front: Callable[..., Any], connect: Callable[[str], Any]
) -> None:
    front = start_front(
        '[surfaces.home]\ntiers = ["POPULAR"]\npopular_lists = "top"\n'
        '[surfaces.product]\ntiers = ["PRECOMPUTED", "POPULAR"]\nlists = "similar"\n'
    )
    wire = connect(front.address)
    similar = write_lists(
        tmp_path, 4, {"i1": list_of("i2", "i1", "i3"), "i9": list_of("i8")}, name="similar", key=LIST_KEY_ITEM
    )
    top = write_lists(
        tmp_path, 7, {"": list_of("e1", "e2"), "nl": list_of("n1", "n2")}, name="top", key=LIST_KEY_SEGMENT
    )

    async def publish() -> None:
        store = SqliteOnlineStore(front.data_dir / "online.db", policy=OnlineStoreContract.POLICY)
        surfaces = {
            "home": SurfaceSettings(tiers=(TierName.POPULAR,), popular_lists="top"),
            "product": SurfaceSettings(tiers=(TierName.PRECOMPUTED,), lists="similar"),
        }
        log = SqliteEventLog(front.data_dir / "events.db")
        await publish_lists(store, log, surfaces, similar)
        await publish_lists(store, log, surfaces, top)
        await log.close()
        await store.close()

    asyncio.run(publish())
    wire.feedback(make_event("x", user_id="x", item_id="counted"), make_event("a", item_id="n1"))

    page = wire.recommend("u1", "product", item_id="i1", max_results=2)
    assert [item.item_id for item in page.items] == ["i2", "i3"]
    assert {item.reason for item in page.items} == {pb.ITEM_REASON_SIMILAR_TO_ITEM}
    report = page.tier_reports[0]
    assert report.list_generation == 4
    assert report.list_age.seconds > 3600
    without = wire.recommend("u1", "product")
    assert without.tier_reports[0].outcome == pb.TIER_OUTCOME_NO_LIST
    assert without.tier_reports[0].list_generation == 4

    def popular(**fields: Any) -> list[str]:
        return [item.item_id for item in wire.recommend("u1", "home", **fields).items]

    assert popular(segment="nl") == ["n2", "counted"]  # n1 is consumed; the counts fill the page up
    assert popular(segment="nowhere") == ["e1", "e2", "counted"]
    assert popular() == ["e1", "e2", "counted"]
    assert popular(item_id="e1") == ["e2", "counted"]
    assert wire.recommend("u1", "home", segment="nl").tier_reports[0].list_generation == 7
