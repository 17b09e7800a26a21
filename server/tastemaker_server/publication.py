"""Publishes generations of lists to the online store: checks them against configuration and store, loads, switches."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tastemaker.artefacts.v1.lists_pb2 import (
    LIST_KEY_ITEM,
    LIST_KEY_SEGMENT,
    LIST_KEY_USER,
    ListGeneration,
    ListKey,
    ListsManifest,
)
from tastemaker_server.event_log import EventLog
from tastemaker_server.event_log.erasures import erasure_digest
from tastemaker_server.list_files import BadListsError, generation_of, newest_generation, read_manifest, read_shards
from tastemaker_server.online_store import OnlineStore
from tastemaker_server.settings import SurfaceSettings, TierName

__all__ = ["Published", "publish_lists"]

Progress = Callable[[int, int], None]
"""Told how many lists have been read, and of how many."""


@dataclass(frozen=True)
class Published:
    """What came of a publication."""

    generation: ListGeneration
    """It is active."""
    erased: int
    """Lists that were left out, since their users were erased after the data for them was taken."""


async def publish_lists(
    online_store: OnlineStore,
    event_log: EventLog,
    surfaces: Mapping[str, SurfaceSettings],
    folder: Path,
    *,
    generation: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Published:
    """Loads a generation and switches all readers to it, in one step. Killed anywhere, it is simply run again.

    Users who were erased since the generation's position in the event log have no list in it.

    Args:
        online_store: Where to.
        event_log: Knows who was erased.
        surfaces: The configured surfaces, one of which must read this set of lists.
        folder: The set's folder, `lists/NAME`.
        generation: Its number; None for the newest that is complete.
        force: Publish also what is older than the active generation, or is looked up by something else.
        progress: Hears how far it is.

    Returns:
        The generation, now active, and who was left out. Where it is active already, nothing is loaded.

    Raises:
        BadListsError: The generation cannot be published; nothing was switched.
        StoreUnavailableError: The store cannot be read or written, or is full; or the event log cannot be read.
    """
    manifest = read_manifest(folder, generation if generation is not None else newest_generation(folder))
    _check_surfaces(manifest, surfaces)
    info = generation_of(manifest)
    generations = await online_store.list_generations(manifest.name)
    if generations:
        active = generations[0]
        if active == info:
            return Published(info, 0)
        _check_follows(manifest, generations, force=force)
    shards = read_shards(folder / str(manifest.generation), manifest)
    if progress is not None:
        shards = _counted(shards, manifest.list_count, progress)
    kept = _WithoutErased(shards, event_log, manifest, asyncio.get_running_loop())
    if manifest.key == LIST_KEY_USER:
        shards = iter(kept)
    try:
        await online_store.put_lists(manifest.name, manifest.generation, shards)
        await online_store.activate_lists(manifest.name, info)
    except ValueError as error:  # another publisher was faster
        raise BadListsError(str(error)) from error
    return Published(info, kept.erased)


def _check_surfaces(manifest: ListsManifest, surfaces: Mapping[str, SurfaceSettings]) -> None:
    """Whether a surface reads this set, and by this key."""
    allowed: set[ListKey] = set()
    known: set[str] = set()
    for surface_name, surface in surfaces.items():
        if TierName.PRECOMPUTED in surface.tiers:
            known.add(surface.lists or surface_name)
            if manifest.name == (surface.lists or surface_name):
                allowed |= {LIST_KEY_USER, LIST_KEY_ITEM}
        if surface.popular_lists is not None:
            known.add(surface.popular_lists)
            if manifest.name == surface.popular_lists:
                allowed.add(LIST_KEY_SEGMENT)
    if not allowed:
        raise BadListsError(
            f"no surface reads lists called {manifest.name!r}; those read are: {', '.join(sorted(known)) or 'none'}. "
            "Set `lists` or `popular_lists` of a surface"
        )
    if manifest.key not in allowed:
        wanted = " or ".join(sorted(_key_name(key) for key in allowed))
        raise BadListsError(
            f"{manifest.name!r} is keyed by {_key_name(manifest.key)}; its surfaces look up by {wanted}"
        )


def _check_follows(manifest: ListsManifest, generations: list[ListGeneration], *, force: bool) -> None:
    """Whether a generation may take the place of the active one."""
    name, number, active = manifest.name, manifest.generation, generations[0]
    if number in {info.generation for info in generations}:
        raise BadListsError(
            f"generation {number} of {name!r} can be read already, and the manifest differs or it is the previous one: "
            "use rollback-lists, or write a generation with a new number"
        )
    if force:
        return
    if number < active.generation:
        raise BadListsError(
            f"generation {number} of {name!r} is older than the active one, {active.generation}; "
            "use rollback-lists, or --force"
        )
    if manifest.key != active.key:
        raise BadListsError(
            f"generation {number} of {name!r} is keyed by {_key_name(manifest.key)} and the active one by "
            f"{_key_name(active.key)}; give it another name, or --force"
        )


class _WithoutErased:
    """Lists without those of users who were erased since the data for them was taken; drawn from in a thread.

    The event log is asked when the first list is drawn. By then the store has begun the generation, and itself takes
    note of whoever is erased from then on: between the two nobody is missed.
    """

    def __init__(
        self,
        lists: Iterator[tuple[str, bytes]],
        event_log: EventLog,
        manifest: ListsManifest,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._lists = lists
        self._event_log = event_log
        self._position = manifest.event_log_position
        self._loop = loop
        self.erased = 0

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        asked = asyncio.run_coroutine_threadsafe(self._event_log.erased_users(self._position), self._loop)
        erased = asked.result()
        if not erased:
            yield from self._lists
            return
        for key, ranked in self._lists:
            if erasure_digest(key) in erased:
                self.erased += 1
            else:
                yield key, ranked


def _key_name(key: ListKey) -> str:
    return ListKey.Name(key).removeprefix("LIST_KEY_").lower()


def _counted(lists: Iterator[tuple[str, bytes]], total: int, progress: Progress) -> Iterator[tuple[str, bytes]]:
    """Passes lists on and tells of every percent."""
    step = max(1, total // 100)
    for done, pair in enumerate(lists, 1):
        yield pair
        if done % step == 0 or done == total:
            progress(done, total)
