"""Labels: `promote` moves one to a version, `rollback` moves it back. The label moves last, once the version answers.

Callers name a label (`stable`, `canary`) and never notice: both versions are loaded while the label moves. If anything
goes wrong on the way, the config file and the server are put back to what they were.
"""

import contextlib
import functools
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tastemaker_jobs.errors import NoVersionError, PromotionError
from tastemaker_jobs.publishing.versions import versions
from tastemaker_jobs.registry.serving import Serving
from tastemaker_jobs.registry.serving_config import ServingConfig

__all__ = ["HISTORY", "Promotion", "history", "promote", "rollback"]

HISTORY = ".promotions.jsonl"
"""Beside a model's versions; servers pass over names that are no numbers."""


@dataclass(frozen=True)
class Promotion:
    """A label moved."""

    label: str
    """Which."""
    version: int
    """To what."""
    previous: int
    """From what; 0 if it is new."""
    unix_seconds: int
    """When."""


def promote(
    name: str,
    version: int,
    *,
    label: str,
    config_path: Path,
    serving: Serving,
    by_reload: bool,
    keep: int,
    timeout_seconds: float,
) -> Promotion:
    """Make a label name a version, once the version is AVAILABLE.

    Args:
        name: The model, as in the config file.
        version: Published.
        label: Such as stable or canary.
        config_path: The model server's config file; changed, as it is what the server starts with next time.
        serving: The server.
        by_reload: Tell the server by its reload call; else it polls the file by itself.
        keep: How many versions that no label names stay on disk, the newest; older ones are removed. The one that the
            label named before always stays, loaded, for the way back.
        timeout_seconds: How long loading may take.

    Raises:
        NoVersionError: There is no such version.
        PromotionError: It did not become available, or the server refused; everything is as it was before.
    """
    before = ServingConfig.read(config_path)
    model_dir = before.base_path(name)
    there = versions(model_dir)
    if version not in there:
        raise NoVersionError(
            f"{name} has no version {version}; {model_dir} has {', '.join(map(str, there)) or 'none'}. Publish it"
            " first."
        )
    labels = before.labels(name)
    previous = labels.get(label, 0)
    if label == "stable" and not previous:
        previous = max((v for v in serving.states(name) if v in there and v != version), default=0)
    served = {*labels.values(), version, previous} - {0}
    moved = {**labels, label: version}
    needed = {*moved.values(), previous} - {0}  # what a label names, and what this one named before, for the way back
    promotion = Promotion(label, version, previous, int(time.time()))
    tell = functools.partial(_tell, before, name, serving=serving, by_reload=by_reload, timeout_seconds=timeout_seconds)
    noted = None
    try:
        tell(served, labels)
        serving.wait_until_available(name, [version], timeout_seconds=timeout_seconds)
        tell(served, moved)
        noted = _note(model_dir / HISTORY, promotion)
        tell(needed, moved)
    except (PromotionError, KeyboardInterrupt) as error:
        if noted is not None:
            os.truncate(model_dir / HISTORY, noted)
        _put_back(before, serving, error, by_reload=by_reload, timeout_seconds=timeout_seconds)
        raise
    _prune(model_dir, kept=needed, keep=keep)
    return promotion


def rollback(
    name: str,
    *,
    label: str,
    config_path: Path,
    serving: Serving,
    by_reload: bool,
    keep: int,
    timeout_seconds: float,
) -> Promotion:
    """Make a label name what it named before it was last moved; called twice, it goes back and forth.

    Args and errors as for `promote`.

    Raises:
        PromotionError: The label was never moved, or what it named before is no longer there.
    """
    model_dir = ServingConfig.read(config_path).base_path(name)
    moves = [move for move in history(model_dir) if move.label == label]
    if not moves or not moves[-1].previous:
        raise PromotionError(f"{name}: the label {label} never named another version; there is nothing to go back to.")
    return promote(
        name,
        moves[-1].previous,
        label=label,
        config_path=config_path,
        serving=serving,
        by_reload=by_reload,
        keep=keep,
        timeout_seconds=timeout_seconds,
    )


def history(model_dir: Path) -> list[Promotion]:
    """How labels moved, oldest first.

    Raises:
        PromotionError: The record is broken.
    """
    path = model_dir / HISTORY
    if not path.exists():
        return []
    try:
        return [Promotion(**json.loads(line)) for line in path.read_text("utf-8").splitlines() if line]
    except (OSError, ValueError, TypeError) as error:
        raise PromotionError(f"{path} cannot be read: {error}. Remove it to begin anew.") from error


def _tell(
    config: ServingConfig,
    name: str,
    served: set[int],
    labels: dict[str, int],
    *,
    serving: Serving,
    by_reload: bool,
    timeout_seconds: float,
) -> None:
    changed = config.copy()
    changed.serve(name, served, labels)
    changed.write()
    if by_reload:
        serving.reload(changed.serialized(), timeout_seconds=timeout_seconds)


def _note(path: Path, promotion: Promotion) -> int:
    """Add a line to the history, whole or not at all; returns how long it was before."""
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(promotion)) + "\n")
    except OSError as error:
        with contextlib.suppress(OSError):
            os.truncate(path, size)
        raise PromotionError(f"{path} cannot be written: {error.strerror or error}. Nothing was promoted.") from error
    return size


def _put_back(
    before: ServingConfig, serving: Serving, error: BaseException, *, by_reload: bool, timeout_seconds: float
) -> None:
    """File and server as they were; says so if the server, which the file is right for, does not listen."""
    before.write()
    if by_reload:
        try:
            serving.reload(before.serialized(), timeout_seconds=timeout_seconds)
        except PromotionError as another:
            raise PromotionError(
                f"{error}\n{before.path} is as it was; the server reads it when it starts, but was not told: {another}"
            ) from error


def _prune(model_dir: Path, *, kept: set[int], keep: int) -> None:
    """Remove old versions: never one that is kept, never one newer than all of these, and `keep` others stay."""
    newest = max(kept)
    old = [version for version in versions(model_dir) if version not in kept and version < newest]
    for version in old[: max(0, len(old) - keep)]:
        # A rename first, so that no server finds half a version.
        leaving = model_dir / f".removing-{version}"
        (model_dir / str(version)).rename(leaving)
        shutil.rmtree(leaving, ignore_errors=True)
