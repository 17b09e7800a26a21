"""Checks of request fields, collected so that a caller hears of every bad field at once."""

import re

from tastemaker_server.errors import FieldViolation, InvalidFieldsError

__all__ = ["MAX_ID_BYTES", "MAX_KEY_BYTES", "Violations"]

MAX_ID_BYTES = 256
"""The longest user or item id."""
MAX_KEY_BYTES = 128
"""The longest event or request id."""

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Violations:
    """The bad fields of one request."""

    def __init__(self) -> None:
        self._found: list[FieldViolation] = []

    def add(self, field: str, description: str) -> None:
        """Notes a bad field: its path, and what it was, may be, and how to mend it."""
        self._found.append(FieldViolation(field, description))

    def check_id(self, field: str, value: str, *, max_bytes: int, required: bool = True) -> None:
        """Notes an id that is empty though required, too long, or has control characters."""
        if not value:
            if required:
                self.add(field, f"is empty; send 1 to {max_bytes} bytes of UTF-8")
            return
        if len(value) * 4 > max_bytes:  # only then can it be too long
            size = len(value.encode())
            if size > max_bytes:
                self.add(field, f"has {size} bytes; send at most {max_bytes}")
                return
        if value.isprintable():  # as nearly all are; it is cheaper to ask, and no control character is printable
            return
        control = _CONTROL_CHARACTER.search(value)
        if control is not None:
            self.add(field, f"has the control character {control.group()!r} at index {control.start()}; leave it out")

    def raise_if_any(self) -> None:
        """Raises InvalidFieldsError if a bad field was noted."""
        if self._found:
            raise InvalidFieldsError(self._found)
