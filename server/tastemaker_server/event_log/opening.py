"""Opens the event log that the settings name. What PostgreSQL needs is imported only where it is asked for."""

from pathlib import Path

from tastemaker_server.errors import SettingsError
from tastemaker_server.event_log import EventLog
from tastemaker_server.event_log.sqlite import SqliteEventLog
from tastemaker_server.settings import Settings

__all__ = ["SQLITE_FILE", "open_event_log"]

SQLITE_FILE = "events.db"
"""The embedded event log, in `server.data_dir`."""


def open_event_log(settings: Settings) -> EventLog:
    """Opens the event log, and makes it where it is missing.

    Raises:
        SettingsError: What `stores.event_log` names is wrong, or a package that it needs is not installed.
        StoreUnavailableError: It cannot be opened now.
    """
    if settings.stores.event_log == "sqlite":
        return SqliteEventLog(settings.server.data_dir / SQLITE_FILE)
    try:
        from tastemaker_server.event_log.postgres import PostgresEventLog
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        problem = (
            "stores.event_log: PostgreSQL needs the package psycopg; pip install 'tastemaker[postgres]'"
            ' beside what is installed, or set it to "sqlite"'
        )
        raise SettingsError([problem]) from error
    password_file = settings.stores.event_log_password_file
    return PostgresEventLog(settings.stores.event_log, password_file=Path(password_file) if password_file else None)
