"""`publish`: a trained version, checked and gated, becomes the newest version of a served model in one step."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tastemaker.artefacts.v1 import manifest_pb2
from tastemaker_jobs.errors import GateError
from tastemaker_jobs.publishing.manifests import numbered, read_manifest
from tastemaker_jobs.publishing.versions import staged
from tastemaker_jobs.registry.gate import check_contract, objections

__all__ = ["Published", "publish"]


@dataclass(frozen=True)
class Published:
    """What came of it."""

    folder: Path
    """Of the version where it is served from."""
    manifest: manifest_pb2.ModelManifest
    """As it stands there."""
    overruled: tuple[str, ...]
    """What the gate had against it, where it was forced."""


def publish(folder: Path, *, models_dir: Path, name: str | None = None, force_reason: str | None = None) -> Published:
    """Check a version, hold it against its baselines, and copy it into the folder that a server polls.

    Warm-up requests, vocabulary and training record come along; the manifest gets the new number, what served before,
    and where it came from.

    Args:
        folder: Of the version, as `train` wrote it.
        models_dir: Holds `<name>/<version>/`.
        name: What to serve it as; its own name by default.
        force_reason: Publishes although the gate objects; kept in the manifest. Never overrules the contract.

    Raises:
        ModelLoadError: There is no manifest.
        ContractError: It does not keep the contract.
        GateError: The gate objects and nobody forced it.
        ModelsDirError: The folder cannot be written.
    """
    manifest = read_manifest(folder)
    check_contract(folder, manifest)
    against = tuple(objections(manifest))
    if against and force_reason is None:
        raise GateError(folder, against)
    model_dir = models_dir / (name or manifest.name)
    with staged(model_dir) as draft:
        shutil.copytree(folder, draft.folder, dirs_exist_ok=True)
        manifest.source = str(folder)
        manifest.name = name or manifest.name
        manifest.force_reason = force_reason or "" if against else ""
        manifest.gate_objections[:] = against
        return Published(draft.publish(numbered(manifest, draft.folder, model_dir)), manifest, against)
