"""Stores behind TLS and passwords: others than who may in are told which setting to mend, without a password."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
from tests.servers.certificates import Certificates, certificates
from tests.servers.postgres import PostgresServer

from tastemaker_server.errors import SettingsError, StoreUnavailableError
from tastemaker_server.event_log.postgres import PostgresEventLog
from tastemaker_server.online_store.redis import RedisOnlineStore
from tastemaker_server.testing import OnlineStoreContract, generation_info, list_of, logged, make_event

__all__ = ["certificates"]


async def _use(url: str) -> None:
    """Does a little of all that a front and a publisher do."""
    store = RedisOnlineStore(url, policy=OnlineStoreContract.POLICY, timeout_seconds=5)
    try:
        await store.check()
        await store.apply([logged(1, make_event("a"))], after=0)
        await store.put_lists("home", 1, [("u1", list_of("a"))])
        await store.activate_lists("home", generation_info(1))
        await store.erase_user("u1")
    finally:
        await store.close()


@pytest.mark.parametrize("is_cluster", [False, True])
async def test_redis_behind_tls_with_a_user_of_its_own(
    start_redis: Callable[..., Any], certificates: Certificates, is_cluster: bool
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    files = ("--tls-cert-file", certificates.certificate, "--tls-key-file", certificates.key)
    tls = ("--tls-port", port, *files, "--tls-ca-cert-file", certificates.ca, "--tls-auth-clients", "no")
    server = start_redis(*map(str, tls), *(("--tls-cluster", "yes") if is_cluster else ()), is_cluster=is_cluster)
    server.command("ACL", "SETUSER", "front", "on", ">let-me-in", "~tm:*", "+@all", "-@admin", "+cluster")
    server.command("ACL", "SETUSER", "guest", "on", ">let-me-in", "~other:*", "+@all")
    server.command("ACL", "SETUSER", "default", "off") if not is_cluster else None
    scheme, ca = f"rediss{'+cluster' if is_cluster else ''}", f"?ssl_ca_certs={certificates.ca}"
    await _use(f"{scheme}://front:let-me-in@127.0.0.1:{port}/{ca}")
    for url, problem in {
        f"{scheme}://front:let-me-in@127.0.0.1:{port}/?ssl_ca_certs={certificates.other_ca}": r"\?ssl_ca_certs=FILE",
        f"{scheme}://front:let-me-in@127.0.0.1:{port}": r"\?ssl_ca_certs=FILE",
        f"{scheme}://front:wr0ng@127.0.0.1:{port}/{ca}": "mend them in the URL",
        f"{scheme}://guest:let-me-in@127.0.0.1:{port}/{ca}": r"give it the commands and the keys tm:\*",
    }.items():
        with pytest.raises(
            StoreUnavailableError, match=rf"stores\.online_store {scheme.replace('+', '.')}://\w+:\*.*{problem}"
        ) as raised:
            await _use(url)
        assert "wr0ng" not in str(raised.value)
        assert "let-me-in" not in str(raised.value)


async def test_postgresql_behind_tls(own_postgres: PostgresServer, certificates: Certificates) -> None:
    url = own_postgres.make_database()
    with pytest.raises(SettingsError, match=r"stores\.event_log: .*turn ssl on in the server"):
        PostgresEventLog(f"{url}?sslmode=verify-full&sslrootcert={certificates.ca}")
    own_postgres.turn_tls_on(certificates.certificate, certificates.key)
    log = PostgresEventLog(f"{url}?sslmode=verify-full&sslrootcert={certificates.ca}")
    await log.append([make_event("a")], 1)
    await log.close()
    by_name = url.replace("127.0.0.1", "localhost")
    for wrong in (
        f"{url}?sslmode=verify-full&sslrootcert={certificates.other_ca}",
        f"{url}?sslmode=verify-full&sslrootcert=/nowhere/ca.pem",
        f"{by_name}?sslmode=verify-full&sslrootcert={certificates.ca}",
    ):
        with pytest.raises(SettingsError, match=r"stores\.event_log: .*name the CA's file in the URL") as raised:
            PostgresEventLog(wrong)
        assert "let-me-in" not in str(raised.value)
    with pytest.raises(SettingsError, match=r"stores\.event_log: .*set the password") as raised:
        PostgresEventLog(f"{url.replace('let-me-in', 'wr0ng')}?sslmode=verify-full&sslrootcert={certificates.ca}")
    assert "wr0ng" not in str(raised.value)
