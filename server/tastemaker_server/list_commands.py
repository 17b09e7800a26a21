"""The commands `publish-lists`, `rollback-lists` and `lists` of `tastemaker-server`: arguments, words, exit status."""

import argparse
import sys
import time
from pathlib import Path

from tastemaker.artefacts.v1.lists_pb2 import ListGeneration, ListKey
from tastemaker_server.errors import SettingsError
from tastemaker_server.list_files import BadListsError
from tastemaker_server.online_store import OnlineStore
from tastemaker_server.online_store.factory import open_online_store
from tastemaker_server.publication import publish_lists
from tastemaker_server.settings import Settings

__all__ = ["add_list_commands"]

_DONE, _REFUSED = 0, 1
_SECONDS_PER_LINE = 1.0
_MICROS_PER_HOUR = 3_600_000_000


def add_list_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the commands; each sets `run`, which takes settings and options and returns the exit status."""
    publish = commands.add_parser("publish-lists", help="load a generation of lists and switch to it")
    publish.add_argument("--lists", type=Path, required=True, metavar="FOLDER", help="lists/NAME")
    publish.add_argument("--generation", type=int, metavar="N", help="default: the newest that is complete")
    publish.add_argument("--force", action="store_true", help="also one that is older, or keyed by something else")
    publish.set_defaults(run=_publish)
    rollback = commands.add_parser("rollback-lists", help="switch back to the generation before")
    rollback.add_argument("name", metavar="NAME", help="the set of lists")
    rollback.set_defaults(run=_rollback)
    show = commands.add_parser("lists", help="show what is published")
    show.set_defaults(run=_show)


async def _publish(settings: Settings, options: argparse.Namespace) -> int:
    store = _open(settings)
    try:
        info = await publish_lists(
            store,
            settings.surfaces,
            options.lists,
            generation=options.generation,
            force=options.force,
            progress=_ProgressLine(),
        )
    except BadListsError as error:
        return _refuse(error)
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        return _refuse("publish-lists needs the package pyarrow; pip install 'tastemaker[parquet]'")
    finally:
        await store.close()
    print(f"{options.lists.resolve().name}: generation {_described(info)} is active")
    return _DONE


async def _rollback(settings: Settings, options: argparse.Namespace) -> int:
    store = _open(settings)
    try:
        info = await store.rollback_lists(options.name)
    except ValueError as error:
        return _refuse(error)
    finally:
        await store.close()
    print(f"{options.name}: generation {_described(info)} is active")
    return _DONE


async def _show(settings: Settings, options: argparse.Namespace) -> int:  # noqa: ARG001  # same for all commands
    store = _open(settings)
    try:
        names = await store.list_names()
        for name in names:
            for info, role in zip(await store.list_generations(name), ("active", "previous"), strict=False):
                print(f"{name:<24} {role:<8}  generation {_described(info)}")
        if not names:
            print("no lists are published")
    finally:
        await store.close()
    return _DONE


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


def _refuse(problem: object) -> int:
    print(f"error: {problem}", file=sys.stderr)
    return _REFUSED


class _ProgressLine:
    """Prints how far it is, once a second and at the end."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _SECONDS_PER_LINE

    def __call__(self, done: int, total: int) -> None:
        if done == total or time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS_PER_LINE
            print(f"{done:,} of {total:,} lists, {100 * done // total} %", file=sys.stderr, flush=True)
