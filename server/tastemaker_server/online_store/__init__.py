"""What an online store must do. Each backend lies here and passes `testing.OnlineStoreContract`.

The online store holds what one call needs, ready to read: what is known of a user, what is popular, lists computed
ahead. It is a view of the event log and of the jobs' lists, and can be built anew from them.

Lists come in named sets. A set has generations, of which readers see one: the active one. Switching is one step, and
the generation before stays, to be switched back to.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from tastemaker.artefacts.v1.lists_pb2 import ListGeneration, ListKey
from tastemaker.artefacts.v1.state_pb2 import RankedList, UserState
from tastemaker_server.event_log import LoggedEvent

__all__ = ["FoundList", "OnlineStore"]


class FoundList(NamedTuple):
    """What a look into a set of lists gave, all of one generation."""

    generation: ListGeneration
    """The generation that was looked into. Not to be changed."""
    ranked: RankedList | None
    """The list; None where the generation has none for this key. Not to be changed."""


class OnlineStore(Protocol):
    """Every method raises StoreUnavailableError when the backend cannot be reached."""

    is_remote: bool
    """Whether a read waits for another process, and so has to be cut off when the caller's deadline comes."""
    reads_together: bool
    """Whether `user_state_and_list` is worth it; not where the two lie on different nodes, one of which may be away."""

    async def user_state(self, user_id: str) -> UserState | None:
        """What is known of a user, not to be changed; None for a user without events."""
        ...

    async def apply(self, events: Sequence[LoggedEvent], *, after: int) -> int:
        """Applies events to their users' states and to popularity, and moves `applied_position` to the last one.

        Each event takes effect once, however many processes apply the same log at once and wherever one is killed:
        what is at or below `applied_position` is passed over, what was half applied is finished.

        Args:
            events: All events of the log above `after`, up to some position, in log order.
            after: Where `events` begin: an `applied_position` that was read before.

        Returns:
            `applied_position` now: the last event's position; or more where another process went further; or less
            than `after` where the store was emptied or set back. Then nothing was applied; read the log from there.
        """
        ...

    async def applied_position(self) -> int:
        """The log position up to which every event has been applied; 0 at first."""
        ...

    async def popular(self, limit: int) -> list[tuple[str, int]]:
        """The items that most users consumed, with the number of users; most first, ties by item id."""
        ...

    async def put_lists(self, name: str, generation: int, lists: Iterable[tuple[str, bytes]]) -> int:
        """Fills a generation that nobody reads yet, and returns how many lists it was given.

        What an earlier, unfinished call for the same generation left is removed first, so that a publisher that was
        killed is simply run again. Where this call fails, what it wrote is removed or will be.

        Args:
            name: The set of lists.
            generation: Its number, 1 or more.
            lists: Keys with serialised `RankedList` messages, stored as they are; drawn from in another thread. A
                key's second list replaces the first.

        Raises:
            ValueError: The generation is the active or the previous one; readers would see it change.
        """
        ...

    async def activate_lists(self, name: str, info: ListGeneration) -> None:
        """Switches all readers of a set of lists to a generation, in one step. The one before stays; older ones go.

        Args:
            name: The set of lists.
            info: What to remember of the generation, with its number; readers get it with every list.

        Raises:
            ValueError: The generation was not put, or not to the end.
        """
        ...

    async def rollback_lists(self, name: str) -> ListGeneration:
        """Switches back to the generation before, in one step, and returns it. A second time: forward again.

        Raises:
            ValueError: There is none before.
        """
        ...

    async def list_names(self) -> list[str]:
        """The sets of lists that have an active generation, sorted."""
        ...

    async def list_generations(self, name: str) -> list[ListGeneration]:
        """What can be read of a set of lists: the active generation, then the one before. Empty where there is none."""
        ...

    async def read_list(self, name: str, keys: "Mapping[ListKey, str]") -> FoundList | None:
        """Looks for a list in the active generation of a set; None where there is no active generation.

        Args:
            name: The set of lists.
            keys: What the reader can be looked up by. The active generation has lists for one kind of key, and finds
                nothing where that kind is not among these.
        """
        ...

    async def user_state_and_list(
        self, user_id: str, name: str, keys: "Mapping[ListKey, str]"
    ) -> tuple[UserState | None, FoundList | None]:
        """What `user_state` and `read_list` return, for little more than the cost of one of them."""
        ...

    async def erase_user(self, user_id: str) -> None:
        """Removes a user's state, part in popularity, and lists in every generation that can be read, for good.

        In generations that are on their way in, by `put_lists` that has begun, the user's list goes before
        `activate_lists` lets anybody read them, also where the publisher is killed and run again.
        """
        ...

    async def check(self) -> None:
        """Returns if the store can be read."""
        ...

    async def close(self) -> None:
        """Finishes what is under way and lets go of everything."""
        ...
