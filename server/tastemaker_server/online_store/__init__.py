"""What an online store must do. Each backend is a file here and passes `testing.OnlineStoreContract`.

The online store holds what one call needs, ready to read: what is known of a user, what is popular, lists computed
ahead. It is a view of the event log and of the jobs' lists, and can be built anew from them.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from tastemaker.artefacts.v1.state_pb2 import RankedList, UserState
from tastemaker_server.event_log import LoggedEvent

__all__ = ["OnlineStore"]


class OnlineStore(Protocol):
    """Every method raises StoreUnavailableError when the backend cannot be reached."""

    async def user_state(self, user_id: str) -> UserState | None:
        """What is known of a user, not to be changed; None for a user without events."""
        ...

    async def apply(self, events: Sequence[LoggedEvent]) -> None:
        """Applies events to their users' states and to popularity, and remembers the last position; all in one step.

        Idempotent: events at or below `applied_position` are passed over.

        Args:
            events: In log order.
        """
        ...

    async def applied_position(self) -> int:
        """The log position up to which every event has been applied; 0 at first."""
        ...

    async def popular(self, limit: int) -> list[tuple[str, int]]:
        """The items that most users consumed, with the number of users; most first, ties by item id."""
        ...

    async def put_lists(self, surface: str, generation: int, lists: Iterable[tuple[str, RankedList]]) -> int:
        """Adds users' lists to a generation that is not active yet, and returns how many.

        Args:
            surface: The surface that the lists are for.
            generation: Its number, 1 or more.
            lists: User ids with their lists. A user's second list replaces the first.

        Raises:
            ValueError: The generation is active; readers would see it change.
        """
        ...

    async def activate_lists(self, surface: str, generation: int) -> None:
        """Switches all readers of a surface to a generation, in one step. The one before stays; older ones go.

        Raises:
            ValueError: The generation has no lists.
        """
        ...

    async def user_list(self, surface: str, user_id: str) -> RankedList | None:
        """The user's list of the active generation, not to be changed; None where there is none."""
        ...

    async def erase_user(self, user_id: str) -> None:
        """Removes a user's state, lists and part in popularity for good."""
        ...

    async def check(self) -> None:
        """Returns if the store can be read."""
        ...

    async def close(self) -> None:
        """Finishes what is under way and lets go of everything."""
        ...
