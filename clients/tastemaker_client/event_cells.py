"""What the cells of one row of an event file may hold.

Only what makes a row an event at all is checked. What an operator sets, the range of ratings or how far in the future a
time may lie, is the server's to check.
"""

import datetime
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from tastemaker_client.event import Event, EventType

__all__ = ["COLUMNS", "EXAMPLE_HEADER", "BadCell", "event_from_cells"]

COLUMNS = frozenset({"event_id", "event_type", "item_id", "rating", "timestamp", "user_id"})
EXAMPLE_HEADER = "user_id,item_id,rating,timestamp or user_id,item_id,event_type,timestamp"

_Value = TypeVar("_Value")

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_YEAR_10000_SECONDS = 253_402_300_800
_SECONDS = re.compile(r"\d{1,20}(\.\d+)?", re.ASCII)
_MAX_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class BadCell:
    """What is wrong with a cell."""

    found: str
    expected: str


class _BadCellError(Exception):
    def __init__(self, expected: str) -> None:
        super().__init__(expected)
        self.expected = expected


def event_from_cells(cells: Mapping[str, str]) -> tuple[Event | None, Mapping[str, BadCell]]:
    """Makes an event of one row.

    Args:
        cells: the text of each column, by the names in `COLUMNS`. A row without an event_type is a RATE event.

    Returns:
        The event (its `event_id` empty where the row has none) and nothing, or None and the bad cells by column.

    >>> event, _ = event_from_cells({"user_id": "196", "item_id": "242", "rating": "3", "timestamp": "881250949"})
    >>> event.event_type, event.rating, event.time.isoformat()
    (<EventType.RATE: 'RATE'>, 3.0, '1997-12-04T15:55:49+00:00')
    >>> _, bad_cells = event_from_cells({"user_id": "196", "item_id": "242", "rating": "three", "timestamp": "0"})
    >>> bad_cells
    {'rating': BadCell(found="'three'", expected='a number, such as 4.5')}
    """
    bad: dict[str, BadCell] = {}

    def value(column: str, parse: Callable[[str], _Value], default: _Value) -> _Value:
        if column not in cells:
            return default
        try:
            return parse(_utf8(cells[column]))
        except _BadCellError as error:
            bad[column] = BadCell(_shown(cells[column]), error.expected)
            return default

    user_id = value("user_id", _identifier, "")
    item_id = value("item_id", _identifier, "")
    event_id = value("event_id", str, "")
    event_type = value("event_type", _event_type, EventType.RATE)
    time = value("timestamp", _time, _EPOCH)
    rating = value("rating", _rating, None)
    if not {"event_type", "rating"} & set(bad):
        if event_type is EventType.RATE and rating is None:
            bad["rating"] = BadCell("nothing", "a number, such as 4.5: a RATE event has one")
        if event_type is not EventType.RATE and rating is not None:
            bad["rating"] = BadCell(_shown(cells["rating"]), f"nothing: only a RATE event has one, not {event_type}")
    if bad:
        return None, bad
    return Event(user_id, item_id, event_type, event_id=event_id, time=time, rating=rating), bad


def _utf8(text: str) -> str:
    # The file is read with the error handler surrogateescape.
    if not text.isascii() and any("\udc80" <= character <= "\udcff" for character in text):
        raise _BadCellError("UTF-8 text")
    return text


def _identifier(text: str) -> str:
    if not text:
        raise _BadCellError("an id")
    return text


def _event_type(text: str) -> EventType:
    try:
        return EventType(text.strip().upper())
    except ValueError:
        raise _BadCellError(f"one of {', '.join(EventType)}") from None


def _rating(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        rating = float(text)
    except ValueError:
        rating = math.nan
    if not math.isfinite(rating):
        raise _BadCellError("a number, such as 4.5")
    return rating


def _time(text: str) -> datetime.datetime:
    text = text.strip()
    if _SECONDS.fullmatch(text):
        whole, _, fraction = text.partition(".")
        if int(whole) >= _YEAR_10000_SECONDS:
            raise _BadCellError("seconds since 1970; this would be after the year 9999: is it in milliseconds?")
        return _EPOCH + datetime.timedelta(seconds=int(whole), microseconds=int(f"{fraction:0<6.6}"))
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None or time < _EPOCH:
        raise _BadCellError("seconds since 1970, such as 881250949, or a time such as 1997-12-04T15:55:49Z")
    return time.astimezone(datetime.UTC)


def _shown(text: str) -> str:
    cut = text if len(text) <= _MAX_SHOWN_CHARACTERS else text[:_MAX_SHOWN_CHARACTERS] + "…"
    return repr(cut) if text else "nothing"
