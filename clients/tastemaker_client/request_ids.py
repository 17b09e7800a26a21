"""The id that each call carries to the server and into the logs there: the caller's own, or one that is made here."""

import re
import secrets
from urllib.parse import quote

__all__ = ["REQUEST_ID_KEY", "check_request_id", "metadata_value", "new_request_id"]

REQUEST_ID_KEY = "x-request-id"
"""The key in the metadata of every call."""

_MAX_BYTES = 128
_MAX_CHARACTERS = 3 * _MAX_BYTES  # all of them percent-encoded
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


def new_request_id() -> str:
    """An id that no other call has: 32 hexadecimal digits."""
    return secrets.token_hex(16)


def metadata_value(request_id: str) -> str:
    """The id as gRPC's metadata can carry it: what is not visible ASCII is percent-encoded, what is too long is cut.

    >>> metadata_value("order-17/50%"), metadata_value("zoë 1")
    ('order-17/50%', 'zo%C3%AB%201')
    """
    return quote(request_id, safe=_VISIBLE)[:_MAX_CHARACTERS]


def check_request_id(request_id: str) -> None:
    """Refuses what the server would refuse or replace.

    Raises:
        TypeError: it is no text.
        ValueError: it has more than 128 bytes of UTF-8, or a control character.
    """
    if not isinstance(request_id, str):
        raise TypeError(f"request_id cannot be {request_id!r} ({type(request_id).__name__}): expected a text")
    if len(request_id.encode()) > _MAX_BYTES:
        raise ValueError(f"request_id has {len(request_id.encode())} bytes; use at most {_MAX_BYTES}")
    if _CONTROL_CHARACTER.search(request_id):
        raise ValueError(f"request_id cannot be {request_id!r}: it has a control character; leave it out")
