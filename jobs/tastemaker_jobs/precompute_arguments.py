"""The arguments of `tastemaker-jobs precompute`, and which go together. Knows no TensorFlow and no Ray."""

import argparse
import datetime
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["add_precompute", "check_precompute"]

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_MOST = {"k": 10_000, "shards": 10_000, "batch_size": 65_536, "history_length": 10_000, "keep": 1_000_000}
_KINDS = ("users", "similar", "popular")


def add_precompute(commands: Any, *, parents: Sequence[argparse.ArgumentParser]) -> None:
    """Add the command.

    Args:
        commands: What argparse's add_subparsers gave.
        parents: Where MovieLens lies, Ray, and metrics.
    """
    parser = commands.add_parser(
        "precompute",
        parents=list(parents),
        help="compute every user's list, item-to-item lists or popular lists ahead of time, with Ray Data",
    )
    parser.add_argument("--kind", choices=_KINDS, default="users", help="what the lists are of (default: users)")
    parser.add_argument(
        "--surface",
        "--name",
        type=_name,
        metavar="NAME",
        help="what the lists are called: the surface, for users (default for the others: similar, popular)",
    )
    parser.add_argument("--model-dir", type=Path, metavar="DIR", help="who ranks: a model's folder or a version's")
    parser.add_argument(
        "--lists-dir",
        type=Path,
        default=Path("lists"),
        metavar="DIR",
        help="a folder that all nodes see (default: lists)",
    )
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--events", type=Path, metavar="DIR", help="what `tastemaker-server export-events` wrote")
    data.add_argument(
        "--ratings", type=Path, metavar="FILE", help="a CSV or Parquet file of ratings, in place of events"
    )
    parser.add_argument(
        "--users",
        default="all",
        metavar="WHO",
        help="all, active:30d (an event within 30 days before the newest), or a file of one id per line (default: all)",
    )
    parser.add_argument(
        "--items", type=Path, metavar="FILE", help="the catalogue, CSV with item_id: nothing else is listed"
    )
    parser.add_argument("--segments", type=Path, metavar="FILE", help="popular: CSV with user_id and segment")
    parser.add_argument(
        "--half-life-days",
        type=_days,
        default=30.0,
        metavar="D",
        help="popular: an event then counts half (default: 30)",
    )
    parser.add_argument(
        "--now",
        type=_time,
        dest="now_micros",
        metavar="TIME",
        help="count ages from here, ISO 8601 (default: the newest event)",
    )
    for name, default, text in (
        ("k", 200, "items in a list at most (default: 200)"),
        ("history-length", 50, "so many of a user's newest events are shown to the model (default: 50)"),
        ("batch-size", 128, "so many users or items are scored at once, at most (default: 128)"),
        ("shards", None, "how many files (default: one for each million events or 20,000 items, 8 at least)"),
        ("keep", 3, "so many whole generations stay, the new one among them; older ones are removed (default: 3)"),
    ):
        limit = _MOST[name.replace("-", "_")]
        parser.add_argument(f"--{name}", type=_count(limit), default=default, metavar="N", help=text)
    parser.add_argument(
        "--consuming",
        type=_types,
        default=("consume", "purchase", "rate"),
        metavar="TYPES",
        help="event types that keep an item off its user's list, as the front's feedback.consuming_event_types"
        " (default: consume,purchase,rate); events without a type always do",
    )
    parser.add_argument(
        "--incremental",
        action="store_true",
        help="only users with events that the newest generation does not know of; the others' lists are taken over",
    )
    parser.add_argument(
        "--workers",
        type=_workers,
        default=None,
        metavar="N",
        help="actors that hold the model, a core each, or max (default: max)",
    )
    parser.add_argument("--gpu", action="store_true", help="one GPU for each worker")


def check_precompute(parser: argparse.ArgumentParser, arguments: dict[str, Any]) -> None:
    """Refuse arguments that are each right and do not go together.

    Args:
        parser: Ends the process, status 2, with what it is told.
        arguments: As parsed. `surface` gets its default.
    """
    kind = arguments["kind"]
    if arguments["surface"] is None:
        if kind == "users":
            parser.error("precompute: which surface are the lists for? Name it with --surface")
        arguments["surface"] = kind
    if kind != "popular" and arguments["model_dir"] is None:
        parser.error(f"precompute --kind {kind}: which model? Name its folder with --model-dir")
    refused = {
        "users": ("segments",),
        "similar": ("segments", "events", "ratings", "incremental"),
        "popular": ("model_dir", "incremental", "gpu"),
    }
    for name in refused[kind]:
        if arguments[name]:
            parser.error(f"--{name.replace('_', '-')} does not go with --kind {kind}")
    if kind != "users" and arguments["users"] != "all":
        parser.error("--users goes with --kind users")
    if arguments["incremental"] and not arguments["events"]:
        parser.error("--incremental needs --events: only an export of the event log says what is new")
    if not arguments["use_ray"] and (arguments["workers"] or arguments["gpu"]):
        parser.error("--workers and --gpu are Ray's: leave --no-ray out")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: give 1 to 64 of a-z, 0-9, _ and -, a letter first")
    return text


def _count(most: int) -> Any:
    def number(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 to {most}")
        return int(text)

    return number


def _workers(text: str) -> int | None:
    number: int | None = None if text == "max" else _count(10_000)(text)
    return number


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not 0 < days < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days above 0")
    return days


def _time(text: str) -> int:
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time, such as 2026-11-24T12:00:00Z") from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=datetime.UTC)
    return round(time.timestamp() * 1_000_000)


def _types(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r}: give event types with commas between, such as consume,purchase")
    return names
