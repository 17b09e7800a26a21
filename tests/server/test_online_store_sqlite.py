"""The embedded online store keeps the contract."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tastemaker.artefacts.v1.lists_pb2 import LIST_KEY_USER
from tastemaker_server.errors import StoreUnavailableError
from tastemaker_server.online_store.sqlite import SqliteOnlineStore
from tastemaker_server.testing import OnlineStoreContract, generation_info, list_of


class TestSqliteOnlineStore(OnlineStoreContract):
    @pytest.fixture
    async def online_store(self, tmp_path: Path) -> AsyncIterator[SqliteOnlineStore]:
        store = SqliteOnlineStore(tmp_path / "online.db", policy=self.POLICY)
        yield store
        await store.close()


async def test_file_of_a_publisher_that_was_killed_goes_with_the_next_one(tmp_path: Path) -> None:
    store = SqliteOnlineStore(tmp_path / "online.db", policy=OnlineStoreContract.POLICY)
    (tmp_path / "lists" / "home-1-0123abcd.db").write_bytes(b"cut off")
    (tmp_path / "lists" / "home-1-2-0123abcd.db").write_bytes(b"of the set home-1")
    for generation in (1, 2, 3):
        await store.put_lists("home", generation, [("u1", list_of("a"))])
        await store.activate_lists("home", generation_info(generation))
    names = sorted(path.name for path in (tmp_path / "lists").glob("*.db"))
    assert [name.rsplit("-", 1)[0] for name in names] == ["home-1-2", "home-2", "home-3"]
    await store.close()


async def test_last_list_of_a_key_that_comes_twice_counts(tmp_path: Path) -> None:
    store = SqliteOnlineStore(tmp_path / "online.db", policy=OnlineStoreContract.POLICY)
    await store.put_lists("home", 1, [(f"u{number % 3000}", list_of(f"i{number}")) for number in range(5000)])
    await store.activate_lists("home", generation_info(1))
    for user, item in (("u0", "i3000"), ("u1999", "i4999"), ("u2000", "i2000")):
        found = await store.read_list("home", {LIST_KEY_USER: user})
        assert found is not None
        assert found.ranked is not None
        assert found.ranked.item_ids == [item]
    await store.erase_user("u0")
    found = await store.read_list("home", {LIST_KEY_USER: "u0"})
    assert found is not None
    assert found.ranked is None
    await store.close()


async def test_list_file_that_is_gone_is_named(tmp_path: Path) -> None:
    store = SqliteOnlineStore(tmp_path / "online.db", policy=OnlineStoreContract.POLICY)
    await store.put_lists("home", 1, [("u1", list_of("a"))])
    await store.activate_lists("home", generation_info(1))
    for path in (tmp_path / "lists").iterdir():
        path.unlink()
    with pytest.raises(StoreUnavailableError, match=r"home-1-\w+\.db is gone; publish 'home' again"):
        await store.read_list("home", {LIST_KEY_USER: "u1"})
    await store.close()


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match=r"online_store is unavailable: .*missing/online\.db"):
        SqliteOnlineStore(tmp_path / "missing" / "online.db", policy=OnlineStoreContract.POLICY)
