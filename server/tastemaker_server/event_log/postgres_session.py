"""One connection to PostgreSQL that comes back after an outage, and what its errors mean to an operator.

A front has two of them, one for the thread that writes and one for the thread that reads, so there is no pool.
"""

import contextlib
import logging
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo

from tastemaker_server.errors import SettingsError, StoreUnavailableError
from tastemaker_server.store_urls import mask_passwords

__all__ = ["PostgresAddress", "PostgresSession", "explain_start_error"]

_log = logging.getLogger(__name__)
_STORE = "event_log"
# libpq's shortest is 2 s. Unanswered data ends a connection after as long: a host that vanished sends no goodbye.
_CONNECT_TIMEOUT_SECONDS = 2
_TCP_USER_TIMEOUT_MILLISECONDS = 2000
# Off where an operator has turned it off for the database: an acknowledged event is on disk. Other settings (such as
# remote_apply) stay. Every query here is right with an index, in the index's order, and a plan that was made while a
# table was small would be wrong as it grows; compiling such plans would cost more than running them.
_SESSION = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET jit = off;
SET lock_timeout = '2s';
SET idle_in_transaction_session_timeout = '5s'
"""


class PostgresAddress:
    """Where the database is and how to log in."""

    def __init__(self, url: str, password_file: Path | None = None) -> None:
        """Checks the URL; connects to nothing.

        Raises:
            SettingsError: It is no URL of a PostgreSQL database.
        """
        self.shown = mask_passwords(url)
        """The URL without its password."""
        if not _is_sound(url):
            # Not libpq's own message: it may quote a piece of the password.
            problem = (
                f"stores.event_log: {self.shown} is not a URL that libpq reads; write postgresql://user@host:5432/database,"
                " special characters of the password as %XX"
            )
            raise SettingsError([problem])
        self._url = url
        self._password_file = password_file

    def connect(self) -> psycopg.Connection[Any]:
        """Opens a connection in autocommit.

        Raises:
            psycopg.Error: There is no way in.
            SettingsError: The file with the password cannot be read.
        """
        given = conninfo.conninfo_to_dict(self._url)
        extra: dict[str, Any] = {
            "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
            "tcp_user_timeout": _TCP_USER_TIMEOUT_MILLISECONDS,
            "application_name": "tastemaker-server",
        }
        settings = {**{key: value for key, value in extra.items() if key not in given}, **self._password()}
        connection = psycopg.connect(self._url, autocommit=True, **settings)
        try:
            connection.execute(_SESSION)
        except BaseException:
            connection.close()
            raise
        return connection

    def _password(self) -> dict[str, str]:
        """Read for each connection: a secret that is renewed needs no restart."""
        if self._password_file is None:
            return {}
        try:
            return {"password": self._password_file.read_text("utf-8").removesuffix("\n")}
        except (OSError, UnicodeDecodeError) as error:
            problem = f"stores.event_log_password_file: {self._password_file} cannot be read: {error}"
            raise SettingsError([problem]) from error


class PostgresSession:
    """A connection for one thread, opened at its first use and again after it broke."""

    def __init__(self, address: PostgresAddress) -> None:
        self._address = address
        self._connection: psycopg.Connection[Any] | None = None
        self._is_well = True

    @contextlib.contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Lends the connection. Whatever PostgreSQL raises inside ends it, so that the next use has a new one.

        Raises:
            StoreUnavailableError: No connection can be had, it broke, or the server refused the statement.
        """
        try:
            if self._connection is None or not _is_alive(self._connection):
                self.close()
                self._connection = self._address.connect()
            yield self._connection
            self._is_well = True
        except (psycopg.Error, SettingsError) as error:
            self.close()
            # Once for an outage: every call fails then, many times a second.
            _log.log(logging.ERROR if self._is_well else logging.DEBUG, "%s: %s", self._address.shown, error)
            self._is_well = False
            raise StoreUnavailableError(_STORE, _cause(error)) from error

    def close(self) -> None:
        """Closes the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def explain_start_error(error: psycopg.Error, address: PostgresAddress) -> Exception:
    """Turns what went wrong at the start into the error that tells the operator what to do.

    Returns:
        A SettingsError where only the operator can help, a StoreUnavailableError where time may.
    """
    text = " ".join(str(error).split())
    where = f"stores.event_log: {address.shown}"
    # Without a connection there is no SQLSTATE, only text.
    if "password authentication failed" in text or "no password supplied" in text:
        fix = "set the password in the URL, in stores.event_log_password_file, in PGPASSWORD or in PGPASSFILE"
    elif "certificate" in text and error.sqlstate is None:
        fix = "name the CA's file in the URL, sslrootcert=FILE, and the host as the server's certificate does"
    elif "does not support SSL" in text:
        fix = "turn ssl on in the server, or leave sslmode out of the URL"
    elif "no pg_hba.conf entry" in text:
        fix = "let this machine and user in, in the server's pg_hba.conf"
    elif ("database" in text or "role" in text) and "does not exist" in text and error.sqlstate is None:
        fix = "create it, or mend the URL"
    elif isinstance(error, psycopg.errors.InsufficientPrivilege):
        fix = (
            "GRANT CREATE ON DATABASE to this user for the first start (it makes the schema tastemaker), or make the "
            "user the owner of that schema"
        )
    elif error.sqlstate is not None:
        return StoreUnavailableError(_STORE, f"{where}: {text}")
    else:
        fix = "start PostgreSQL there, or mend host and port in stores.event_log"
        return StoreUnavailableError(_STORE, f"{where}: {text}; {fix}")
    return SettingsError([f"{where}: {text}; {fix}"])


def _is_sound(url: str) -> bool:
    """A password with a raw slash or @ makes a URL that libpq reads and that means something else."""
    try:
        parts = conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        return False
    ports = str(parts.get("port", "")).split(",")
    return all(port.isdecimal() or not port for port in ports) and "@" not in str(parts.get("dbname", ""))


def _is_alive(connection: psycopg.Connection[Any]) -> bool:
    """Between two statements a server has nothing to say: what can be read then is its farewell."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)


def _cause(error: Exception) -> str:
    """What callers may know: not which host was asked and as whom."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary is not None:
        return f"PostgreSQL says: {error.diag.message_primary}"
    return "no connection to PostgreSQL"
