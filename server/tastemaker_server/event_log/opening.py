"""Opens the event log that the settings name. What PostgreSQL needs is imported only where it is asked for."""

from pathlib import Path

from tastemaker_server.errors import SettingsError
from tastemaker_server.event_log import EventLog
from tastemaker_server.event_log.sqlite import SqliteEventLog
from tastemaker_server.settings import Settings

__all__ = ["names_same_event_log", "open_event_log", "open_existing_event_log"]

_SQLITE = "sqlite"
_SQLITE_FILE = "events.db"


def open_event_log(settings: Settings) -> EventLog:
    """Opens the event log, and makes it where it is missing.

    Raises:
        SettingsError: What `stores.event_log` names is wrong, or a package that it needs is not installed.
        StoreUnavailableError: It cannot be opened now.
    """
    if settings.stores.event_log == _SQLITE:
        return SqliteEventLog(settings.server.data_dir / _SQLITE_FILE)
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


def open_existing_event_log(settings: Settings) -> EventLog:
    """Opens the event log for a command that reads it.

    Raises:
        SettingsError: There is none in `server.data_dir`; or as `open_event_log`.
        StoreUnavailableError: It cannot be opened now.
    """
    file = settings.server.data_dir / _SQLITE_FILE
    if settings.stores.event_log == _SQLITE and not file.exists():
        raise SettingsError([f"server.data_dir: {file} does not exist; name the folder of a front that has run"])
    return open_event_log(settings)


def names_same_event_log(one: Settings, other: Settings) -> bool:
    """Whether two fronts have one log, as far as their settings tell."""
    if one.stores.event_log == other.stores.event_log == _SQLITE:
        return one.server.data_dir.resolve() == other.server.data_dir.resolve()
    return one.stores.event_log == other.stores.event_log
