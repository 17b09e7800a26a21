"""Lists of ids as rectangular arrays, in few different shapes, so that TensorFlow meets no new size at every batch."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["padded", "rounded_up"]

_LEAST = 8


def padded(lists: pa.ListArray, *, rows: int, width: int, left: bool) -> npt.NDArray[np.object_]:
    """Lists as rows of one width.

    Args:
        lists: [N] lists of strings, none longer than `width`.
        rows: B, N or more; the rest is empty.
        width: T.
        left: Whether the padding stands at the left.

    Returns:
        [B, T] bytes, as TensorFlow has them, padded with b"".

    >>> padded(pa.array([["a"], ["b", "c"]]), rows=2, width=3, left=True).tolist()
    [[b'', b'', b'a'], [b'', b'b', b'c']]
    """
    cells = np.full((rows, width), b"", dtype=object)  # [B, T]
    length = lists.value_lengths().to_numpy()[:, np.newaxis]  # [N, 1]
    place = np.arange(width)  # [T]
    values = lists.flatten().cast(pa.binary()).to_numpy(zero_copy_only=False)
    cells[: len(lists)][place >= width - length if left else place < length] = values
    return cells


def rounded_up(count: int, *, most: int | None = None) -> int:
    """The next power of two, 8 or more; not above `most`, which the count does not exceed.

    >>> [rounded_up(count, most=100) for count in (0, 9, 33, 65, 100)]
    [8, 16, 64, 100, 100]
    """
    power = max(_LEAST, 1 << max(0, count - 1).bit_length())
    return power if most is None else min(power, most)
