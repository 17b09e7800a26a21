"""Opens the online store that the settings name; imports the client of a server only where one is named."""

from tastemaker_server.errors import SettingsError
from tastemaker_server.online_store import OnlineStore
from tastemaker_server.online_store.sqlite import SqliteOnlineStore
from tastemaker_server.settings import Settings
from tastemaker_server.store_urls import mask_passwords
from tastemaker_server.user_state import StatePolicy

__all__ = ["open_online_store"]


def open_online_store(settings: Settings) -> OnlineStore:
    """Opens it; a server is connected to at the first call.

    Raises:
        SettingsError: What it needs is not installed, or its URL cannot be read.
        StoreUnavailableError: A file cannot be opened or written, or is no database.
    """
    policy = StatePolicy(
        consuming_event_types=frozenset(kind.number for kind in settings.feedback.consuming_event_types),
        max_history_events=settings.state.max_history_events,
        max_consumed_items=settings.state.max_consumed_items,
    )
    url = settings.stores.online_store
    if url == "sqlite":
        return SqliteOnlineStore(settings.server.data_dir / "online.db", policy=policy)
    try:
        from tastemaker_server.online_store.redis import RedisOnlineStore
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("redis", "hiredis"):
            raise
        problem = f"stores.online_store: {mask_passwords(url)} needs the package redis; pip install 'tastemaker[redis]'"
        raise SettingsError([problem]) from error
    timeout_seconds = settings.stores.online_store_timeout_milliseconds / 1000
    return RedisOnlineStore(url, policy=policy, timeout_seconds=timeout_seconds)
