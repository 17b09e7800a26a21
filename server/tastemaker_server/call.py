"""The call that is being answered: its id, and what its line in the log says beside that.

gRPC gives every call a task of its own, so a context variable follows a call wherever it awaits. Work for many calls at
once (a group commit, the projector) belongs to none of them and has no id.
"""

import random
import re
from collections.abc import Iterable
from contextvars import ContextVar
from urllib.parse import quote

__all__ = ["REQUEST_ID_KEY", "Call", "begin_call", "current_call", "logged_request_id", "metadata_value"]

REQUEST_ID_KEY = "x-request-id"
"""The key of a request id in the metadata of a call and of its answer."""

# Of gRPC's ASCII what can be told apart at a glance. The limit is that of the field in the API, percent-encoded.
_GOOD_ID = re.compile(r"[!-~]{1,384}")
_UNESCAPED = "".join(map(chr, range(0x21, 0x7F)))


# An id tells calls apart and keeps nothing secret, so that it need not be asked of the kernel for every call.
_random = random.Random()  # noqa: S311  # see above


class Call:
    """What is known of a call so far; whoever learns more writes it here."""

    __slots__ = ("detail", "reason", "request_id", "surface", "tier")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        """The caller's id, or the one that the front made."""
        self.surface = ""
        """The surface, once it is known to be one of the operator's: anything else may be anything, a user id too."""
        self.tier = 0
        """The number of the tier that answered."""
        self.reason = ""
        """Why it failed, as ErrorInfo names it."""
        self.detail = ""
        """What an operator should know of the failure: nothing that the caller sent."""


_current: ContextVar[Call | None] = ContextVar("call", default=None)


def begin_call(metadata: Iterable[tuple[str, str | bytes]]) -> None:
    """Makes the call that this task answers from now on, for `current_call`.

    Args:
        metadata: What came with it. An id that is not 1 to 384 visible ASCII characters is replaced, not refused:
            proxies set this key as well, and what is there for finding faults must not make a call fail.
    """
    for key, value in metadata:
        if key == REQUEST_ID_KEY:
            found = value if isinstance(value, str) and _GOOD_ID.fullmatch(value) else ""
            break
    else:
        found = ""
    _current.set(Call(found or _new_id()))


def current_call() -> Call:
    """The call that this task answers; outside of any, one that nobody reads."""
    return _current.get() or Call(_new_id())


def logged_request_id() -> str | None:
    """The id for a line that is written now; None outside of a call."""
    call = _current.get()
    return call.request_id if call is not None else None


def metadata_value(request_id: str) -> str:
    """A request id as metadata can carry it: what is not visible ASCII is percent-encoded.

    >>> metadata_value("order-17/50%"), metadata_value("zoë 1")
    ('order-17/50%', 'zo%C3%AB%201')
    """
    return request_id if _GOOD_ID.fullmatch(request_id) else quote(request_id, safe=_UNESCAPED)


def _new_id() -> str:
    return _random.randbytes(16).hex()
