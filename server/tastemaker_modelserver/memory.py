"""The C allocator's habits, where they hurt a model server: glibc only, and a no-op elsewhere.

glibc gives blocks above a threshold back to the kernel as soon as they are freed. A run at batch 64 over 3,706 items
frees a few such blocks, and fetching their pages anew made it take 20 ms instead of 10.
"""

import ctypes
import sys

__all__ = ["keep_freed_memory", "return_freed_memory"]

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEEP_BYTES = 1 << 30


def keep_freed_memory() -> None:
    """Lets the process keep what a run frees, for the next run."""
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)


def return_freed_memory() -> None:
    """Gives everything free back to the kernel, after a version was unloaded."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None
