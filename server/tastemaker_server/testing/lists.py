"""Lists for tests, short to write."""

from typing import Any

from tastemaker.artefacts.v1.lists_pb2 import LIST_KEY_USER, ListGeneration, ListKey
from tastemaker.artefacts.v1.state_pb2 import RankedList

__all__ = ["generation_info", "list_of"]


def list_of(*item_ids: str) -> bytes:
    """A serialised list of these items, the first with the highest score."""
    return RankedList(item_ids=item_ids, scores=range(len(item_ids), 0, -1)).SerializeToString()


def generation_info(generation: int, *, key: ListKey = LIST_KEY_USER, **fields: Any) -> ListGeneration:
    """What a store keeps of a generation."""
    return ListGeneration(generation=generation, key=key, **fields)
