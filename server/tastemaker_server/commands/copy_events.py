"""`tastemaker-server copy-events`: all events of one front's log into another's, such as from SQLite to PostgreSQL."""

import argparse
import asyncio
from pathlib import Path

from tastemaker_server.commands import Command
from tastemaker_server.errors import SettingsError
from tastemaker_server.event_log.copying import copy_events
from tastemaker_server.event_log.opening import names_same_event_log, open_event_log, open_existing_event_log
from tastemaker_server.settings import Settings
from tastemaker_server.settings_loader import load_settings

__all__ = ["COPY_EVENTS"]


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from-config",
        type=Path,
        required=True,
        metavar="FILE",
        help="settings of the front whose events are copied; --config names those of the front that gets them",
    )


def _run(settings: Settings, options: argparse.Namespace) -> str:
    # Variables of the environment set the log that is written to; the other is as its file says.
    if options.config is None:
        raise SettingsError(["--config: is missing; name the settings of the front that gets the events"])
    source = load_settings(options.from_config, {})
    if names_same_event_log(source, settings):
        raise SettingsError(["--from-config: names the event log that --config names; name two"])
    return asyncio.run(_copy(source, settings))


async def _copy(source: Settings, target: Settings) -> str:
    reading = open_existing_event_log(source)
    try:
        _make(target.server.data_dir)
        writing = open_event_log(target)
        try:
            copied = await copy_events(reading, writing)
        finally:
            await writing.close()
    finally:
        await reading.close()
    return f"{copied.new} events copied, {copied.duplicates} were there before, up to position {copied.last_position}"


def _make(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError([f"server.data_dir: {data_dir} cannot be made: {error.strerror}"]) from error


COPY_EVENTS = Command(
    name="copy-events",
    summary="copy all events of one front's log into another's; can be run again",
    add_arguments=_add_arguments,
    run=_run,
)
