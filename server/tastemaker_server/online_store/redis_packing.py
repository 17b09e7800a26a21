"""Connections of redis-py that pack commands in C, as its blocking ones do: lists are many and large arguments.

In Python that is a third of the client's processor time while lists are published.
"""

from collections.abc import Iterable
from typing import Any

import hiredis
from redis.asyncio.connection import Connection, SSLConnection

__all__ = ["PackingConnection", "PackingSSLConnection"]


class _Packing:
    def pack_command(self, *args: Any) -> list[bytes]:
        """One command in Redis' protocol. Its name may be two words, as in redis-py."""
        return [hiredis.pack_command((*args[0].split(), *args[1:]))]

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        """Several commands, one after another."""
        return [packed for command in commands for packed in self.pack_command(*command)]


class PackingConnection(_Packing, Connection):
    """Plain."""


class PackingSSLConnection(_Packing, SSLConnection):
    """With TLS."""
