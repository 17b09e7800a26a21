"""The online store on Redis or Valkey, one server or a cluster: for any number of fronts."""

from collections.abc import Mapping

from tastemaker.artefacts.v1.lists_pb2 import ListKey
from tastemaker.artefacts.v1.state_pb2 import UserState
from tastemaker_server.online_store import FoundList
from tastemaker_server.online_store.redis_connection import RedisConnection
from tastemaker_server.online_store.redis_lists import RedisLists
from tastemaker_server.online_store.redis_reader import RedisReader
from tastemaker_server.online_store.redis_users import RedisUsers
from tastemaker_server.user_state import StatePolicy

__all__ = ["RedisOnlineStore"]


class RedisOnlineStore(RedisUsers, RedisLists):
    """See `OnlineStore`. Safe for Redis Cluster: what changes in one step has one hash tag."""

    is_remote = True

    def __init__(self, url: str, *, policy: StatePolicy, timeout_seconds: float) -> None:
        """Takes the address; connects at the first call.

        Args:
            url: See `store_urls.REDIS_URL_PATTERN`.
            policy: What is kept of users.
            timeout_seconds: How long a read may take.

        Raises:
            SettingsError: The URL cannot be read.
        """
        self._redis = RedisConnection(url, timeout_seconds=timeout_seconds)
        self.reads_together = not self._redis.is_cluster
        self._redis_reader = RedisReader(connection=self._redis)
        RedisUsers.__init__(self, connection=self._redis, reader=self._redis_reader, policy=policy)
        RedisLists.__init__(self, connection=self._redis, reader=self._redis_reader)

    async def user_state_and_list(
        self, user_id: str, name: str, keys: "Mapping[ListKey, str]"
    ) -> tuple[UserState | None, FoundList | None]:
        """See `OnlineStore.user_state_and_list`. One round trip on one server."""
        if not self.reads_together:
            return await self.user_state(user_id), await self.read_list(name, keys)
        (value,), found = await self._read_with_list((self._user_command(user_id),), name, keys)
        return self._user_state(value), found

    async def erase_user(self, user_id: str) -> None:
        """See `OnlineStore.erase_user`."""
        await self._erase_from_lists(user_id)
        await self._erase_from_users(user_id)

    async def check(self) -> None:
        """See `OnlineStore.check`."""
        await self.applied_position()

    async def close(self) -> None:
        """See `OnlineStore.close`."""
        await self._redis_reader.close()
        await self._redis.close()
