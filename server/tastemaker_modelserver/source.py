"""Which versions a model's folder offers. It looks and decides nothing else; `manager` acts on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tastemaker_modelserver.model_config import AllVersions, LatestVersions, ModelSettings

__all__ = ["Listing", "folder_fingerprint", "list_versions"]

_LARGEST_VERSION = 2**63 - 1


@dataclass(frozen=True)
class Listing:
    """What one look at a model's folder found."""

    versions: Mapping[int, Path] = field(default_factory=dict)
    """The versions that should serve now, each with its folder. Empty: the caller keeps what it has. TensorFlow Serving
    would unload everything when a readable folder is empty; here a deleted folder does not take a serving model
    away."""
    complaint: str = ""
    """What an operator should know about the folder, or nothing."""


def list_versions(model: ModelSettings) -> Listing:
    """Looks at a model's folder and applies its version policy.

    Entries whose name is not a number are skipped. Of two names of one number (`1` and `001`) the last in sorted order
    counts, as in TensorFlow Serving.
    """
    try:
        names = sorted(entry.name for entry in model.base_path.iterdir())
    except OSError as error:
        return Listing(complaint=f"Could not find base path {model.base_path} for servable {model.name}: {error}")
    found: dict[int, Path] = {}
    complaints: list[str] = []
    for name in names:
        version = _version_number(name)
        if version is None:
            continue
        if version in found:
            complaints.append(f"Version {version} is in {found[version].name} and in {name}; {name} counts.")
        found[version] = model.base_path / name
    wanted = _wanted(model, found)
    if not isinstance(model.policy, AllVersions | LatestVersions) and (missing := model.policy.versions - found.keys()):
        complaints.append(f"Versions {sorted(missing)} are asked for by the config and were not found.")
    if not wanted:
        complaints.append(
            f"No versions of servable {model.name} found under base path {model.base_path}. "
            "Did you forget to name your leaf directory as a number (eg. '/1/')?"
        )
    return Listing({version: found[version] for version in wanted}, " ".join(complaints))


def folder_fingerprint(folder: Path) -> int:
    """A number that changes when a file under `folder` comes, goes or changes; 0 when it cannot be read."""
    try:
        files = sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    except OSError:
        return 0
    return hash(tuple(files))


def _wanted(model: ModelSettings, found: Mapping[int, Path]) -> list[int]:
    if isinstance(model.policy, AllVersions):
        return sorted(found)
    if isinstance(model.policy, LatestVersions):
        return sorted(found)[-model.policy.count :]
    return sorted(model.policy.versions & found.keys())


def _version_number(name: str) -> int | None:
    if not (name.isascii() and name.removeprefix("-").isdigit()):
        return None
    version = int(name)
    return version if -_LARGEST_VERSION <= version <= _LARGEST_VERSION else None
