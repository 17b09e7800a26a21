"""The embedded online store keeps the contract."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tastemaker.artefacts.v1.state_pb2 import RankedList
from tastemaker_server.errors import StoreUnavailableError
from tastemaker_server.online_store.sqlite import SqliteOnlineStore
from tastemaker_server.testing import OnlineStoreContract


class TestSqliteOnlineStore(OnlineStoreContract):
    @pytest.fixture
    async def online_store(self, tmp_path: Path) -> AsyncIterator[SqliteOnlineStore]:
        store = SqliteOnlineStore(tmp_path / "online.db", policy=self.POLICY)
        yield store
        await store.close()


async def test_more_lists_than_one_commit_holds_all_arrive(tmp_path: Path) -> None:
    store = SqliteOnlineStore(tmp_path / "online.db", policy=OnlineStoreContract.POLICY)
    ranked = RankedList(item_ids=["a"], scores=[1.0])
    assert await store.put_lists("home", 1, ((f"u{number}", ranked) for number in range(12_345))) == 12_345
    await store.activate_lists("home", 1)
    assert await store.user_list("home", "u12344") == ranked
    await store.close()


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match=r"online_store is unavailable: .*missing/online\.db"):
        SqliteOnlineStore(tmp_path / "missing" / "online.db", policy=OnlineStoreContract.POLICY)
