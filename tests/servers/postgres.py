"""A real PostgreSQL for tests: on a free port, in a folder of its own, as a user without rights where we are root.

`postgres_server` is shared by the session; `postgres_url` is a new database in it; `own_postgres` is a server that a
test may kill.
"""

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

__all__ = ["PostgresServer", "own_postgres", "postgres_server", "postgres_url"]

_USER = "tastemaker"
_PASSWORD = "let-me-in"
# A server that is killed loses nothing that the kernel has: syncing would only slow the tests down.
_OPTIONS = "-c fsync=off -c listen_addresses=127.0.0.1 -c max_connections=60"


class PostgresServer:
    """A cluster of its own in a temporary folder."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._owner = _owner()
        self._names = itertools.count()
        self._is_running = False
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.folder = Path(tempfile.mkdtemp(prefix="tastemaker-postgres-"))
        password_file = self.folder / "password"
        password_file.write_text(_PASSWORD)
        if self._owner is not None:
            for path in (self.folder, password_file):
                shutil.chown(path, self._owner)
        self._run("initdb", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", f"--username={_USER}",
                  f"--pwfile={password_file}", "--no-sync", "-D", str(self.folder / "data"))  # fmt: skip

    def start(self) -> None:
        """Starts it, and returns when it lets clients in."""
        options = f"{_OPTIONS} -p {self.port} -c unix_socket_directories={self.folder}"
        self._run(
            "pg_ctl", "start", "-w", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-o", options
        )
        self._is_running = True

    def turn_tls_on(self, certificate: Path, key: Path) -> None:
        """Lets clients in with TLS, too; it goes on running."""
        for source, name in ((certificate, "server.crt"), (key, "server.key")):
            target = self.folder / "data" / name
            shutil.copyfile(source, target)
            target.chmod(0o600)
            if self._owner is not None:
                shutil.chown(target, self._owner)
        self.execute("ALTER SYSTEM SET ssl = on")
        self.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + 20
        while self.execute("SHOW ssl") != [("on",)]:  # a new session each time: the reload takes a moment
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        """Stops it as an operator would in a hurry."""
        self._run("pg_ctl", "stop", "-w", "-m", "fast", "-D", str(self.folder / "data"))
        self._is_running = False

    def processes(self) -> list[psutil.Process]:
        """The server and its children."""
        pid = int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        server = psutil.Process(pid)
        return [server, *server.children(recursive=True)]

    def kill(self) -> None:
        """Kill -9 for the server and all its children; waits for their end."""
        processes = self.processes()
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=10)
        self._is_running = False

    def url(self, database: str, user: str = _USER, password: str = _PASSWORD) -> str:
        """The URL of a database."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def make_database(self, **options: str) -> str:
        """Makes a new empty database; returns its URL."""
        name = f"test_{next(self._names)}"
        self.execute(f"CREATE DATABASE {name}" + "".join(f" {key} {value}" for key, value in options.items()))
        return self.url(name)

    def make_tablespace(self, name: str, folder: Path) -> None:
        """Makes a tablespace in a new folder."""
        folder.mkdir()
        if self._owner is not None:
            shutil.chown(folder, self._owner)
        self.execute(f"CREATE TABLESPACE {name} LOCATION '{folder}'")

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Runs one statement as the superuser; returns its rows, if it has any."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def remove(self) -> None:
        """Stops it if it runs, and removes its folder."""
        if self._is_running:
            self.stop()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        # By setpriv: with a user of its own subprocess forks, and gRPC's handlers of forks run in the child, where they
        # crash now and then while other threads are in gRPC.
        as_owner: list[str] = []
        if self._owner is not None:
            ids = pwd.getpwnam(self._owner)
            as_owner = ["setpriv", f"--reuid={ids.pw_uid}", f"--regid={ids.pw_gid}", "--clear-groups"]
        # To a file, not a pipe: the server inherits it and would keep a pipe open.
        with (self.folder / "output").open("w") as output:
            ended = subprocess.run(
                [*as_owner, self._binaries / program, *arguments],
                stdout=output,
                stderr=output,
                cwd=self.folder,
                timeout=60,
            )
        assert ended.returncode == 0, f"{program}: {(self.folder / 'output').read_text()}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server that all tests share: leave it running."""
    yield from _server()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of a new, empty database."""
    return postgres_server.make_database()


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server of the test's own, started."""
    yield from _server()


def _server() -> Iterator[PostgresServer]:
    binaries = _binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    server = PostgresServer(binaries)
    server.start()
    yield server
    server.remove()


def _binaries() -> Path | None:
    """Debian keeps the server's programs off the PATH, one folder for each version."""
    of_versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    for folder in reversed(of_versions):
        if (folder / "initdb").exists():
            return folder
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb is not None else None


def _owner() -> str | None:
    """PostgreSQL refuses to run as root: the user to run it as, or None for our own."""
    if os.getuid() != 0:
        return None
    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
