"""How an erased user is remembered: by a digest of the id, so that lists computed before can leave the user out.

The id itself is gone. Whoever has the digest and a guess at the id can tell whether the guess is right: it is a
pseudonym, not nothing.
"""

import hashlib

__all__ = ["erasure_digest"]


def erasure_digest(user_id: str) -> bytes:
    """32 bytes that stand for a user.

    >>> erasure_digest("ann") == erasure_digest("ann") != erasure_digest("bob")
    True
    """
    return hashlib.sha256(b"tastemaker-erasure\0" + user_id.encode()).digest()
