"""URLs of stores as the settings name them: which kind, and how to show one without its password."""

import re

__all__ = ["REDIS_URL_PATTERN", "masked"]

REDIS_URL_PATTERN = r"rediss?(\+cluster)?://\S+"
"""A Redis or Valkey server, with or without TLS; `+cluster` where the server is a node of a cluster."""

_PASSWORD = re.compile(r"(://[^/@\s]*?:)[^/@\s]*(?=@)|([?&]password=)[^&\s]*")


def masked(text: str) -> str:
    """Returns a text with the passwords of its URLs replaced by `***`.

    >>> masked("redis://front:secret@cache:6379/0")
    'redis://front:***@cache:6379/0'
    """
    return _PASSWORD.sub(lambda found: f"{found[1] or found[2]}***", text)
