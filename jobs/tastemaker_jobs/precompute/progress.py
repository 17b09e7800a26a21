"""How precompute tells which shards are done, to whoever counts."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["ShardEvent", "ShardReport", "unheard"]


@dataclass(frozen=True)
class ShardEvent:
    """A shard ended; or work begins, and so many were there before."""

    name: str
    """What the lists are called."""
    done: int
    """Shards that are finished."""
    shards: int
    """How many there are."""
    computed: int = 0
    """Lists of this shard that were computed."""
    carried: int = 0
    """Lists of this shard that were taken over."""
    retries: int = 0
    """How often its worker was lost."""


ShardReport = Callable[[ShardEvent], None]


def unheard(event: ShardEvent) -> None:
    """A listener that does nothing."""
    del event
