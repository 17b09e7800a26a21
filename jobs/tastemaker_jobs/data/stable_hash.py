"""A number from an id that is the same in every process, on every machine, whatever the order of the rows.

Python's own `hash` of a text differs from process to process, and a shuffled row number from file to file.
"""

import hashlib

__all__ = ["stable_hash"]


def stable_hash(*parts: str, seed: int = 0) -> int:
    """A whole number of 0 to 2**64 - 1.

    Args:
        parts: Of the id; ("ab", "c") and ("a", "bc") differ.
        seed: Another seed gives unrelated numbers.

    >>> stable_hash("user", "1") % 1000, stable_hash("user", "1", seed=1) % 1000
    (480, 795)
    """
    text = "".join(f"{len(part)}:{part}" for part in parts)
    digest = hashlib.blake2b(text.encode(), digest_size=8, salt=seed.to_bytes(8, "little")).digest()
    return int.from_bytes(digest, "big")
