"""Attribution tokens: opaque and signed, they tie feedback to the answer that led to it.

A token is base64url(HMAC-SHA256(key, payload)[:16] + payload), the payload an `Attribution` message.
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from google.protobuf.message import DecodeError

from tastemaker.artefacts.v1.state_pb2 import Attribution

__all__ = ["AttributionSigner", "load_or_make_key"]

_SIGNATURE_BYTES = 16
_KEY_BYTES = 32
_BLOCK_BYTES = 64  # SHA-256's


class AttributionSigner:
    """Makes tokens and reads them back."""

    def __init__(self, key: bytes) -> None:
        """Takes the key, of 64 bytes at most."""
        # HMAC as RFC 2104 defines it. Copies of the two hashes cost half of what a copy of an hmac object does.
        block = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def sign(self, attribution: Attribution) -> str:
        """Returns the token of an attribution."""
        payload = attribution.SerializeToString()
        return base64.urlsafe_b64encode(self._signature(payload) + payload).decode("ascii")

    def read(self, token: str) -> Attribution:
        """Returns what a token holds.

        Raises:
            ValueError: The token was not made with this key, or was changed.
        """
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
            signature, payload = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
            if not hmac.compare_digest(signature, self._signature(payload)):
                raise ValueError("the signature does not match")
            return Attribution.FromString(payload)
        except (binascii.Error, UnicodeEncodeError, DecodeError) as error:
            raise ValueError(f"not a token: {error}") from error

    def _signature(self, payload: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(payload)
        outer.update(inner.digest())
        return outer.digest()[:_SIGNATURE_BYTES]


def load_or_make_key(path: Path) -> bytes:
    """Reads the signing key, or makes one that only the owner can read; processes that start at once agree on one.

    Raises:
        ValueError: The file holds something else.
        OSError: It cannot be read or written.
    """
    if not path.exists():
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise ValueError(f"{path} has {len(key)} bytes, not {_KEY_BYTES}; move it away and a new key will be made")
    return key
