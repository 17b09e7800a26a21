"""Publishes generations of lists to the online store: checks them against configuration and store, loads, switches."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tastemaker.artefacts.v1.lists_pb2 import (
    LIST_KEY_ITEM,
    LIST_KEY_SEGMENT,
    LIST_KEY_USER,
    ListGeneration,
    ListKey,
    ListsManifest,
)
from tastemaker_server.list_files import BadListsError, generation_of, newest_generation, read_manifest, read_shards
from tastemaker_server.online_store import OnlineStore
from tastemaker_server.settings import SurfaceSettings, TierName

__all__ = ["publish_lists"]

Progress = Callable[[int, int], None]
"""Told how many lists have been read, and of how many."""


async def publish_lists(
    online_store: OnlineStore,
    surfaces: Mapping[str, SurfaceSettings],
    folder: Path,
    *,
    generation: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> ListGeneration:
    """Loads a generation and switches all readers to it, in one step. Killed anywhere, it is simply run again.

    Args:
        online_store: Where to.
        surfaces: The configured surfaces, one of which must read this set of lists.
        folder: The set's folder, `lists/NAME`.
        generation: Its number; None for the newest that is complete.
        force: Publish also what is older than the active generation, or is looked up by something else.
        progress: Hears how far it is.

    Returns:
        The generation, now active. Where it is active already, nothing is loaded.

    Raises:
        BadListsError: The generation cannot be published; nothing was switched.
        StoreUnavailableError: The store cannot be read or written, or is full.
    """
    manifest = read_manifest(folder, generation if generation is not None else newest_generation(folder))
    _check_surfaces(manifest, surfaces)
    info = generation_of(manifest)
    generations = await online_store.list_generations(manifest.name)
    if generations:
        active = generations[0]
        if active == info:
            return info
        _check_follows(manifest, generations, force=force)
    shards = read_shards(folder / str(manifest.generation), manifest)
    if progress is not None:
        shards = _counted(shards, manifest.list_count, progress)
    try:
        await online_store.put_lists(manifest.name, manifest.generation, shards)
        await online_store.activate_lists(manifest.name, info)
    except ValueError as error:  # another publisher was faster
        raise BadListsError(str(error)) from error
    return info


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


def _key_name(key: ListKey) -> str:
    return ListKey.Name(key).removeprefix("LIST_KEY_").lower()


def _counted(lists: Iterator[tuple[str, bytes]], total: int, progress: Progress) -> Iterator[tuple[str, bytes]]:
    """Passes lists on and tells of every percent."""
    step = max(1, total // 100)
    for done, pair in enumerate(lists, 1):
        yield pair
        if done % step == 0 or done == total:
            progress(done, total)
