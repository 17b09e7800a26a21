"""`tastemaker-server export-events`: the event log as Parquet files, for the jobs."""

import argparse
import asyncio
from pathlib import Path

from tastemaker_server.commands import Command
from tastemaker_server.errors import SettingsError
from tastemaker_server.event_log.export import export_events
from tastemaker_server.event_log.opening import open_existing_event_log
from tastemaker_server.settings import Settings

__all__ = ["EXPORT_EVENTS"]


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="where the files go; made where it is missing"
    )
    parser.add_argument(
        "--after",
        type=int,
        default=0,
        metavar="POSITION",
        help="only events above this position, such as last_position in an earlier export.json (default: all)",
    )
    parser.add_argument("--replace", action="store_true", help="remove the export that FOLDER has, and make it anew")


def _run(settings: Settings, options: argparse.Namespace) -> str:
    if options.after < 0:
        raise SettingsError([f"--after: is {options.after}; give 0 or a position of an earlier export"])
    return asyncio.run(_export(settings, options.out, options.after, replace=options.replace))


async def _export(settings: Settings, folder: Path, after: int, *, replace: bool) -> str:
    event_log = open_existing_event_log(settings)
    try:
        exported = await export_events(event_log, folder, after=after, replace=replace)
    finally:
        await event_log.close()
    return f"{exported.count} events in {len(exported.files)} files, up to position {exported.last_position}: {folder}"


EXPORT_EVENTS = Command(
    name="export-events",
    summary="write the event log, or what is new in it, to Parquet files",
    add_arguments=_add_arguments,
    run=_run,
)
