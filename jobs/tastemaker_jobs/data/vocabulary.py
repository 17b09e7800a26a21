"""The items that a model knows, and ratings in terms of them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["Vocabulary"]


@dataclass(frozen=True)
class Vocabulary:
    """I item ids in a fixed order. Inside a model an item is its place in it plus 1; 0 is padding or unknown."""

    item_ids: tuple[str, ...]
    """[I], most trained-on first, equal counts in order of id: where scores tie, the more popular item wins."""
    index: dict[str, int] = field(repr=False)
    """Item id to its number, 1 to I."""

    @classmethod
    def of(cls, item_ids: Iterable[str]) -> "Vocabulary":
        """The vocabulary of these events' items. Give it training events only, or the test leaks into the model.

        Args:
            item_ids: One per event.
        """
        counts = Counter(item_ids)
        ordered = tuple(sorted(counts, key=lambda item: (-counts[item], item)))
        return cls(ordered, {item: number for number, item in enumerate(ordered, start=1)})

    def extended(self, item_ids: Iterable[str]) -> "Vocabulary":
        """This vocabulary with further items behind its own.

        Args:
            item_ids: None of them known yet.
        """
        ordered = (*self.item_ids, *item_ids)
        return Vocabulary(ordered, {item: number for number, item in enumerate(ordered, start=1)})

    def first(self, count: int) -> "Vocabulary":
        """The first items alone.

        Args:
            count: How many.
        """
        return Vocabulary(
            self.item_ids[:count], {item: number for item, number in self.index.items() if number <= count}
        )

    def __len__(self) -> int:
        return len(self.item_ids)

    def encode(self, items: Sequence[str]) -> npt.NDArray[np.int32]:
        """Numbers of the known ones among these items, order kept.

        Args:
            items: T ids.

        Returns:
            [T or fewer] int32, unknown ids left out.
        """
        known = (self.index.get(item, 0) for item in items)
        return np.array([number for number in known if number], dtype=np.int32)
