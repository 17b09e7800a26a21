"""Which store the settings name, and what is said where it cannot be opened."""

import sys
from pathlib import Path

import pytest

from tastemaker_server.errors import SettingsError
from tastemaker_server.online_store.factory import open_online_store
from tastemaker_server.online_store.sqlite import SqliteOnlineStore
from tastemaker_server.settings_loader import load_settings
from tastemaker_server.store_urls import mask_passwords

_URL = {"TASTEMAKER_FRONT_STORES__ONLINE_STORE": "redis://front:secret@cache/0"}


async def test_sqlite_is_the_default(tmp_path: Path) -> None:
    store = open_online_store(load_settings(None, {"TASTEMAKER_FRONT_SERVER__DATA_DIR": str(tmp_path)}))
    assert isinstance(store, SqliteOnlineStore)
    await store.close()


def test_client_that_is_not_installed_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("tastemaker_server.online_store.redis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(SettingsError) as raised:
        open_online_store(load_settings(None, _URL))
    assert raised.value.problems == [
        "stores.online_store: redis://front:***@cache/0 needs the package redis; pip install 'tastemaker[redis]'"
    ]


def test_settings_are_printed_without_the_password() -> None:
    printed = load_settings(None, _URL).model_dump_json()
    assert "redis://front:***@cache/0" in printed
    assert "secret" not in printed


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("redis://:p@cache", "redis://:***@cache"),
        ("rediss+cluster://u:p:q@[::1]:7?password=x&a=1", "rediss+cluster://u:***@[::1]:7?password=***&a=1"),
        ("cannot reach redis://u:p@h and redis://u:p@g", "cannot reach redis://u:***@h and redis://u:***@g"),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    assert mask_passwords(url) == shown
