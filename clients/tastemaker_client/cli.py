"""The `tastemaker` command: asks for recommendations, sends feedback, imports events, shows health.

It owns the arguments, the environment (TASTEMAKER_ADDRESS, TASTEMAKER_ITEMS), what is printed and the exit status: 0
done, 1 a call failed or a component does not serve, 2 the command or a file is wrong. `cli_arguments` has the parser
and `cli_errors` the words for what went wrong.
"""

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from tastemaker_client.cli_arguments import make_parser
from tastemaker_client.cli_errors import call_error_lines, import_error_lines, unknown_outcome_lines
from tastemaker_client.client import Client
from tastemaker_client.errors import TastemakerError
from tastemaker_client.event import Event, FeedbackReceipt
from tastemaker_client.event_file import EventFile, EventFileError
from tastemaker_client.health import HealthStatus
from tastemaker_client.import_events import ImportStoppedError, import_events
from tastemaker_client.item_titles import TitlesFileError, read_titles
from tastemaker_client.page_text import page_as_json, page_as_text
from tastemaker_client.readiness import component_statuses, wait_until_serving

__all__ = ["main"]

_DONE, _CALL_FAILED, _USAGE, _INTERRUPTED = 0, 1, 2, 130

# A command must see a server that has just started at once.
_EAGER = {"grpc.initial_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 200}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: the command line without the program's name; None for the process's own.

    Returns:
        The exit status.
    """
    options = make_parser(os.environ).parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except TastemakerError as error:
        return _fail(_CALL_FAILED, call_error_lines(error, options))
    except ImportStoppedError as error:
        return _fail(_CALL_FAILED, import_error_lines(error, options))
    except EventFileError as error:
        more = error.problem_count - len(error.problems)
        rest = [f"and {more:,} more", "nothing was sent"] if more else ["nothing was sent"]
        return _fail(_USAGE, [f"{options.file} is not a file of events", *error.problems, *rest])
    except (TitlesFileError, ValueError) as error:
        return _fail(_USAGE, [str(error)])
    except KeyboardInterrupt:
        again = " (importing the file again is safe)" if options.command == "import-events" else ""
        return _fail(_INTERRUPTED, [f"interrupted{again}"])


def _recommend(options: Namespace) -> int:
    titles = read_titles(Path(options.items)) if options.items else {}
    with _client(options) as client:
        page = client.recommend(
            options.user,
            options.surface,
            max_results=options.max_results,
            item_id=options.item,
            segment=options.segment,
            timeout_seconds=options.timeout_seconds,
        )
    print(page_as_json(page, titles) if options.json else page_as_text(page, titles))
    return _DONE


def _feedback(options: Namespace) -> int:
    if options.event_id and len(options.event_id) != len(options.item):
        counts = f"{len(options.event_id)} given for {len(options.item)} --item"
        return _fail(_USAGE, [f"--event-id: {counts}; give one for each, in the same order"])
    ids = [{"event_id": event_id} for event_id in options.event_id] or [{} for _ in options.item]
    events = [
        Event(
            options.user,
            item_id,
            options.type,
            time=options.time,
            rating=options.rating,
            attribution_token=options.attribution_token,
            **event_id,
        )
        for item_id, event_id in zip(options.item, ids, strict=True)
    ]
    with _client(options) as client:
        try:
            receipt = client.feedback(events, timeout_seconds=options.timeout_seconds)
        except TastemakerError as error:
            return _fail(_CALL_FAILED, call_error_lines(error, options) + unknown_outcome_lines(error, events))
    print(f"stored: {_counts(receipt)}")
    for event in events:
        print(f"  {event.event_type} {event.item_id}  event id {event.event_id}")
    return _DONE


def _import_events(options: Namespace) -> int:
    file = EventFile(Path(options.file), columns=options.columns)
    total = file.check()
    if not total:
        print("no events in the file, nothing to send")
        return _DONE

    is_terminal = sys.stderr.isatty()
    next_percent = 10

    def progress(done: int) -> None:
        nonlocal next_percent
        percent = 100 * done // total
        if is_terminal:
            print(f"\r{done:,} of {total:,} events, {percent} %", end="", file=sys.stderr, flush=True)
        elif percent >= next_percent:
            print(f"{done:,} of {total:,} events, {percent} %", file=sys.stderr)
            next_percent = percent // 10 * 10 + 10

    try:
        with _client(options) as client:
            receipt = import_events(client, file.rows(), timeout_seconds=options.timeout_seconds, progress=progress)
    finally:
        if is_terminal:
            print(file=sys.stderr)
    print(f"{total:,} events: {_counts(receipt)}")
    return _DONE


def _health(options: Namespace) -> int:
    components = ["" if name == "server" else name for name in options.component]
    with _client(options) as client:
        if options.wait:
            statuses = wait_until_serving(
                client, components, wait_seconds=options.wait, timeout_seconds=options.timeout_seconds
            )
        else:
            statuses = component_statuses(client, components, timeout_seconds=options.timeout_seconds)
    width = max(len(name or "server") for name in statuses)
    for name, status in statuses.items():
        print(f"{name or 'server':<{width}}  {status.name}")
    is_serving = all(status is HealthStatus.SERVING for status in statuses.values())
    return _DONE if is_serving else _CALL_FAILED


_COMMANDS = {"feedback": _feedback, "health": _health, "import-events": _import_events, "recommend": _recommend}


def _client(options: Namespace) -> Client:
    return Client(options.address, options=_EAGER)


def _counts(receipt: FeedbackReceipt) -> str:
    return f"{receipt.accepted_count:,} accepted, {receipt.duplicate_count:,} duplicate (stored before)"


def _fail(status: int, lines: Sequence[str]) -> int:
    first, *rest = lines
    print("\n".join([f"error: {first}", *(f"  {line}" for line in rest)]), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
