"""Lists of ids as rectangular arrays, in few different shapes, so that TensorFlow meets no new size at every batch."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["padded", "rounded_up"]

_LEAST = 8


def padded(lists: pa.ListArray, *, rows: int, width: int, left: bool) -> npt.NDArray[np.int32]:
    """Lists as rows of one width, each value as its place in the lists' dictionary, from 1 on.

    Args:
        lists: [N] lists of dictionary-encoded strings, none longer than `width`.
        rows: B, N or more; the rest is empty.
        width: T.
        left: Whether the padding stands at the left.

    Returns:
        [B, T], padded with 0.

    >>> lists = pa.array([["a"], ["b", "a"]], pa.list_(pa.dictionary(pa.int32(), pa.string())))
    >>> padded(lists, rows=2, width=3, left=True).tolist()
    [[0, 0, 1], [0, 2, 1]]
    """
    cells = np.zeros((rows, width), np.int32)  # [B, T]
    length = lists.value_lengths().to_numpy()[:, np.newaxis]  # [N, 1]
    place = np.arange(width)  # [T]
    values = lists.flatten().indices.to_numpy() + 1
    cells[: len(lists)][place >= width - length if left else place < length] = values
    return cells


def rounded_up(count: int, *, most: int | None = None) -> int:
    """The next power of two, 8 or more; not above `most`, which the count does not exceed.

    >>> [rounded_up(count, most=100) for count in (0, 9, 33, 65, 100)]
    [8, 16, 64, 100, 100]
    """
    power = max(_LEAST, 1 << max(0, count - 1).bit_length())
    return power if most is None else min(power, most)
