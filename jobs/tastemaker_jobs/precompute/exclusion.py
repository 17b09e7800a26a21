"""Finds lists that hold what was excluded, a batch at a time. Nearly none does, and to see that has to cost little.

Ids are compared by a hash of 62 bits; whoever is told of a row looks at the ids themselves.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["Overlaps"]

_MARKS = 1 << 23
_APART = 2_654_435_761  # odd, so that rows lie apart among the marks


class Overlaps:
    """A mark for each excluded id of each row, and a look at the marks of the listed ones. Kept from batch to batch."""

    def __init__(self) -> None:
        self._marks = np.zeros(_MARKS, np.bool_)

    def rows(self, listed: npt.NDArray[np.int64], excluded: npt.NDArray[np.int64]) -> list[int]:
        """The rows of which a listed id is excluded as well.

        Args:
            listed: [B, K] hashes.
            excluded: [B, E] hashes, 0 or more; negative ones stand for nothing.

        >>> Overlaps().rows(np.array([[5, 6], [7, 8]]), np.array([[7, 9], [8, -1]]))
        [1]
        """
        apart = np.arange(len(listed))[:, np.newaxis] * _APART  # [B, 1]
        marks = listed + apart
        marks &= _MARKS - 1
        excluded_marks = ((excluded + apart) & (_MARKS - 1))[excluded >= 0]
        self._marks[excluded_marks] = True
        (found,) = self._marks.take(marks.ravel()).nonzero()
        self._marks[excluded_marks] = False
        # Few are left: those that are excluded, and those that share a mark with what is.
        suspected: dict[int, set[int]] = {}
        for place, value in zip(found.tolist(), listed.ravel()[found].tolist(), strict=True):
            suspected.setdefault(place // listed.shape[1], set()).add(value)
        return [number for number, values in suspected.items() if not values.isdisjoint(excluded[number].tolist())]
