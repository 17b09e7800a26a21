"""The arguments of the `tastemaker` command."""

import argparse
import datetime
import math
from collections.abc import Mapping
from importlib import metadata
from typing import NoReturn

from tastemaker_client.calls import FEEDBACK_TIMEOUT_SECONDS, HEALTH_TIMEOUT_SECONDS, RECOMMEND_TIMEOUT_SECONDS
from tastemaker_client.event import EventType
from tastemaker_client.readiness import COMPONENTS

__all__ = ["make_parser"]

_DEFAULT_ADDRESS = "127.0.0.1:50051"
_IMPORT_TIMEOUT_SECONDS = 30.0  # a batch job waits rather than fails


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n  see: {self.prog} --help\n")


def make_parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """Makes the parser.

    Args:
        environment: where TASTEMAKER_ADDRESS and TASTEMAKER_ITEMS are looked up.

    Returns:
        A parser whose result has the name of the command in `command`.
    """
    parser = _Parser(
        prog="tastemaker", description="Ask a Tastemaker server for recommendations and tell it what users did."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {metadata.version('tastemaker')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    address = environment.get("TASTEMAKER_ADDRESS") or _DEFAULT_ADDRESS

    def command(name: str, help_text: str, description: str, timeout_seconds: float) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help_text, description=description)
        added.add_argument("--address", default=address, help="the server; default %(default)s, or TASTEMAKER_ADDRESS")
        added.add_argument(
            "--timeout-seconds",
            type=_positive_seconds,
            default=timeout_seconds,
            metavar="SECONDS",
            help="the deadline of a call with its retries; default %(default)s",
        )
        return added

    recommend = command(
        "recommend", "show a ranked page for a user", "Show a ranked page for a user.", RECOMMEND_TIMEOUT_SECONDS
    )
    recommend.add_argument("--user", required=True, help="the user's id, known or not")
    recommend.add_argument("--surface", required=True, help="where the page would be shown, for example home")
    recommend.add_argument("--item", default="", metavar="ID", help="the item that is shown, for similar ones")
    recommend.add_argument("--segment", default="", metavar="NAME", help="the user's group, for what is popular in it")
    recommend.add_argument(
        "--max-results", type=int, default=0, metavar="N", help="at most N items; default: the surface's"
    )
    recommend.add_argument(
        "--items",
        default=environment.get("TASTEMAKER_ITEMS") or None,
        metavar="CSV",
        help="a CSV file with the columns item_id and title, to show titles; default TASTEMAKER_ITEMS",
    )
    recommend.add_argument("--json", action="store_true", help="print the page as JSON")

    feedback = command(
        "feedback",
        "tell what a user did",
        "Store what a user did with one or several items: all of it or nothing.",
        FEEDBACK_TIMEOUT_SECONDS,
    )
    feedback.add_argument("--user", required=True, help="the user's id")
    feedback.add_argument("--item", required=True, action="append", help="the item's id; may be given several times")
    feedback.add_argument(
        "--type",
        required=True,
        type=_event_type,
        metavar="TYPE",
        help=f"what was done: {', '.join(kind.lower() for kind in EventType)}",
    )
    feedback.add_argument("--rating", type=float, help="for --type rate")
    feedback.add_argument(
        "--event-id", action="append", default=[], metavar="ID", help="one for each --item; default: made up"
    )
    feedback.add_argument(
        "--time",
        type=_time,
        help="when, RFC 3339, for example 2026-01-31T12:00:00Z; default: now, by the server's clock",
    )
    feedback.add_argument("--attribution-token", default="", metavar="TOKEN", help="of the page that led to this")

    importer = command(
        "import-events",
        "send the events of a CSV file",
        "Send the events of a CSV file, each user's in its order. The whole file is checked before anything is sent."
        " A second import of the same file, or of one that has grown since, changes nothing for the rows that are"
        " stored.",
        _IMPORT_TIMEOUT_SECONDS,
    )
    importer.add_argument(
        "file",
        help="comma- or tab-separated: user_id,item_id,rating,timestamp or user_id,item_id,event_type,timestamp, and if"
        " you like rating and event_id; timestamp is seconds since 1970 or RFC 3339",
    )
    importer.add_argument(
        "--columns",
        type=lambda names: names.split(","),
        metavar="NAMES",
        help="for a file without a header line, for example user_id,item_id,rating,timestamp",
    )

    health = command(
        "health",
        "show how the server and its components are",
        "Show the status of the server and its components. Exit status 0 if all of those shown are SERVING.",
        HEALTH_TIMEOUT_SECONDS,
    )
    health.add_argument(
        "component",
        nargs="*",
        default=[name or "server" for name in COMPONENTS],
        help="show only these, for example model/rnn; 'server' is the server as a whole",
    )
    health.add_argument(
        "--wait", type=_positive_seconds, metavar="SECONDS", help="ask until all of them are SERVING, at most so long"
    )
    return parser


def _positive_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number of seconds above 0")
    return seconds


def _event_type(text: str) -> EventType:
    try:
        return EventType(text.upper().replace("-", "_"))
    except ValueError:
        kinds = ", ".join(kind.lower() for kind in EventType)
        raise argparse.ArgumentTypeError(f"found {text!r}, expected one of {kinds}") from None


def _time(text: str) -> datetime.datetime:
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected RFC 3339 with a zone, such as 2026-01-31T12:00:00Z")
    return time
