"""URLs of stores: what they look like, and how to show one without its password."""

import re

__all__ = ["REDIS_URL_PATTERN", "mask_passwords"]

REDIS_URL_PATTERN = r"rediss?(\+cluster)?://\S+"
"""A Redis or Valkey server, with or without TLS; `+cluster` where the server is a node of a cluster."""

# Greedy up to the last @: a password that was not escaped may have an @ or a slash of its own.
_IN_AUTHORITY = re.compile(r"(\w+://[^:/?#\s@]*):\S*@")
_IN_QUERY = re.compile(r"([?&](?:ssl)?password=)[^&\s'\"]*")


def mask_passwords(text: str) -> str:
    """Replaces the password of each URL in `text` by three asterisks.

    >>> mask_passwords("postgresql://front:secret@db/events?sslmode=require")
    'postgresql://front:***@db/events?sslmode=require'
    """
    return _IN_QUERY.sub(r"\1***", _IN_AUTHORITY.sub(r"\1:***@", text))
