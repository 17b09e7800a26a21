"""The commands `publish-lists`, `rollback-lists` and `lists`: load lists, switch back, show what is published."""

import argparse
import asyncio
import logging
import time
from pathlib import Path

from tastemaker.artefacts.v1.lists_pb2 import ListGeneration, ListKey
from tastemaker_server.commands import Command
from tastemaker_server.errors import CommandError, SettingsError
from tastemaker_server.event_log.opening import open_event_log
from tastemaker_server.list_files import BadListsError
from tastemaker_server.online_store import OnlineStore
from tastemaker_server.online_store.factory import open_online_store
from tastemaker_server.publication import publish_lists
from tastemaker_server.settings import Settings

__all__ = ["LISTS", "PUBLISH_LISTS", "ROLLBACK_LISTS"]

_log = logging.getLogger(__name__)
_SECONDS_PER_LINE = 1.0
_MICROS_PER_HOUR = 3_600_000_000


def _publish_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lists", type=Path, required=True, metavar="FOLDER", help="lists/NAME")
    parser.add_argument("--generation", type=int, metavar="N", help="default: the newest that is complete")
    parser.add_argument("--force", action="store_true", help="also one that is older, or keyed by something else")


def _rollback_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the set of lists")


async def _publish(settings: Settings, options: argparse.Namespace) -> str:
    store = _open(settings)
    event_log = None
    try:
        event_log = open_event_log(settings)
        published = await publish_lists(
            store,
            event_log,
            settings.surfaces,
            options.lists,
            generation=options.generation,
            force=options.force,
            progress=_ProgressLine(),
        )
    except BadListsError as error:
        raise CommandError(str(error)) from error
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise CommandError("publish-lists needs the package pyarrow; pip install 'tastemaker[parquet]'") from error
    finally:
        if event_log is not None:
            await event_log.close()
        await store.close()
    left_out = f"; {published.erased:,} left out, of users erased since" if published.erased else ""
    return f"{options.lists.resolve().name}: generation {_described(published.generation)} is active{left_out}"


async def _rollback(settings: Settings, options: argparse.Namespace) -> str:
    store = _open(settings)
    try:
        info = await store.rollback_lists(options.name)
    except ValueError as error:
        raise CommandError(str(error)) from error
    finally:
        await store.close()
    return f"{options.name}: generation {_described(info)} is active"


async def _show(settings: Settings) -> str:
    store = _open(settings)
    try:
        lines = [
            f"{name:<24} {role:<8}  generation {_described(info)}"
            for name in await store.list_names()
            for info, role in zip(await store.list_generations(name), ("active", "previous"), strict=False)
        ]
    finally:
        await store.close()
    return "\n".join(lines) or "no lists are published"


def _open(settings: Settings) -> OnlineStore:
    try:
        settings.server.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError([f"server.data_dir: {settings.server.data_dir} cannot be used: {error}"]) from error
    return open_online_store(settings)


def _described(info: ListGeneration) -> str:
    age_hours = (time.time_ns() // 1000 - info.created_time_micros) / _MICROS_PER_HOUR
    key = ListKey.Name(info.key).removeprefix("LIST_KEY_").lower()
    model = f", {info.model_name} {info.model_version}" if info.model_name else ""
    return f"{info.generation} ({info.list_count:,} lists by {key}{model}, computed {age_hours:.1f} h ago)"


class _ProgressLine:
    """Logs how far it is, once a second and at the end."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _SECONDS_PER_LINE

    def __call__(self, done: int, total: int) -> None:
        if done == total or time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS_PER_LINE
            _log.info("%s of %s lists, %d %%", f"{done:,}", f"{total:,}", 100 * done // total)


PUBLISH_LISTS = Command(
    name="publish-lists",
    summary="load a generation of lists and switch to it",
    add_arguments=_publish_arguments,
    run=lambda settings, options: asyncio.run(_publish(settings, options)),
)
ROLLBACK_LISTS = Command(
    name="rollback-lists",
    summary="switch back to the generation of lists before",
    add_arguments=_rollback_arguments,
    run=lambda settings, options: asyncio.run(_rollback(settings, options)),
)
LISTS = Command(
    name="lists",
    summary="show which lists are published",
    add_arguments=lambda _: None,
    run=lambda settings, _: asyncio.run(_show(settings)),
)
