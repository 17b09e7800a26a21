"""`tastemaker-jobs precompute`: lists computed ahead of time, as Parquet shards with a manifest."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tastemaker_jobs import console, environment
from tastemaker_jobs.commands.fetch import data_files
from tastemaker_jobs.data.ratings import sha256_of
from tastemaker_jobs.errors import ContractError, ListsError, ModelLoadError
from tastemaker_jobs.job_metrics import exposed
from tastemaker_jobs.models.contract import CONTRACT_VERSION
from tastemaker_jobs.precompute.event_files import EventFiles, export_files, ratings_file
from tastemaker_jobs.precompute.request import Audience, Kind, Model, Precompute, parse_audience
from tastemaker_jobs.precompute.run import Outcome
from tastemaker_jobs.precompute.run import precompute as run
from tastemaker_jobs.precompute.steps import InThisProcess, Steps
from tastemaker_jobs.publishing.manifests import MANIFEST, read_manifest
from tastemaker_jobs.publishing.versions import version_folder
from tastemaker_jobs.training.progress import StageEvent

__all__ = ["model_of", "precompute"]


def precompute(
    *,
    kind: str,
    surface: str,
    model_dir: Path | None,
    lists_dir: Path,
    users: str,
    use_ray: bool,
    address: str | None,
    workers: int | None,
    gpu: bool,
    events: Path | None,
    ratings: Path | None,
    data_dir: Path | None,
    items: Path | None,
    segments: Path | None,
    metrics_address: str | None,
    **numbers: Any,
) -> None:
    """Check everything, then compute, or go on with what the same command has begun, and say what came of it.

    Args:
        kind: users, similar or popular.
        surface: What the lists are called.
        model_dir: A model's folder (newest version) or a version's.
        lists_dir: Holds `<surface>/<generation>/`.
        users: all, active:<days>d or a file.
        use_ray: On Ray, or in this process.
        address: Of a running Ray cluster.
        workers: How many actors; None for all that fit.
        gpu: Whether each has a GPU.
        events: An export of the event log.
        ratings: A ratings file, in its place.
        data_dir: Where MovieLens 100K may lie, which is taken in place of both.
        items: The catalogue.
        segments: Of users.
        metrics_address: Where Prometheus reads how far it is.
        numbers: The settings of `Precompute` that pass as they are.

    Raises:
        TastemakerJobsError: See `errors`; the message says what to do.
    """
    wanted = Kind(kind)
    request = Precompute(
        kind=wanted,
        name=surface,
        lists_dir=lists_dir.resolve(),
        model=model_of(model_dir, "similar" if wanted is Kind.SIMILAR else "recommend") if model_dir else None,
        audience=parse_audience(users) if wanted is Kind.USERS else Audience(),
        events=None if wanted is Kind.SIMILAR else _events(events, ratings, data_dir),
        catalogue=items.resolve() if items else None,
        segments=segments.resolve() if segments else None,
        **numbers,
    )
    _check_writable(request.folder)
    console.note(f"precomputing {request.name}, {kind}; starting {'Ray' if use_ray else 'in this process'}")
    with (
        exposed(metrics_address, "precompute") as metrics,
        _steps(use_ray, address, workers, gpu) as steps,
        console.progress() as report,
    ):
        outcome = run(request, steps, lambda text: report(StageEvent(request.name, text)), shard_report=metrics.shard)
    _say(outcome, request)


def model_of(model_dir: Path, signature: str) -> Model:
    """A version of a model, if its manifest says that it has a signature.

    Args:
        model_dir: A model's folder (newest version) or a version's.
        signature: What will be asked.

    Raises:
        NoVersionError: There is none.
        ModelLoadError: There is no manifest, or no such signature in it.
        ContractError: It keeps another version of the contract.
    """
    folder = version_folder(str(model_dir.absolute()), models_dir=model_dir).resolve()
    manifest = read_manifest(folder)
    if manifest.contract_version != CONTRACT_VERSION:
        raise ContractError(
            f"{folder} keeps version {manifest.contract_version} of the contract of signatures, and this code knows"
            f" {CONTRACT_VERSION}. Train it anew."
        )
    if signature not in manifest.signatures:
        has = ", ".join(manifest.signatures) or "none"
        raise ModelLoadError(f"{folder} has no signature `{signature}` (it has: {has}). Name another model.")
    try:
        digests = [sha256_of(folder / name) for name in (MANIFEST, "saved_model.pb")]
    except OSError as error:
        raise ModelLoadError(f"{folder} is not a SavedModel: {error.strerror or error}. Train it anew.") from error
    return Model(folder, folder.parent.name, int(folder.name), json.dumps(digests))


def _events(events: Path | None, ratings: Path | None, data_dir: Path | None) -> EventFiles:
    if events is not None:
        return export_files(events.resolve())
    files = data_files(ratings=ratings, data_dir=data_dir, protocol="leave-last-out", items=None, images=None)
    return ratings_file(files.ratings)


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise ListsError(
            f"the lists folder {folder} cannot be written: {error.strerror or error}. Free it, or use another"
            " --lists-dir."
        ) from error


@contextlib.contextmanager
def _steps(use_ray: bool, address: str | None, workers: int | None, gpu: bool) -> Iterator[Steps]:
    if not use_ray:
        yield InThisProcess()
        return
    from tastemaker_jobs.on_ray_precompute import OnRay, workers_that_fit
    from tastemaker_jobs.ray_cluster import connected

    with connected(address or environment.ray_address(), spare_cores=1):
        yield OnRay(workers=workers or workers_that_fit(gpu=gpu), gpu=gpu)


def _say(outcome: Outcome, request: Precompute) -> None:
    manifest = outcome.manifest
    rate = outcome.computed / outcome.seconds if outcome.seconds else 0.0
    parts = [f"{outcome.computed:,} computed in {outcome.seconds:.1f} s ({rate:,.0f} lists/s)"]
    parts += [f"{outcome.carried:,} taken over from generation {manifest.parent_generation}"] if outcome.carried else []
    parts += [f"{outcome.shards_kept} shards were finished before"] if outcome.shards_kept else []
    console.note(f"{request.name}: {manifest.list_count:,} lists; {'; '.join(parts)}")
    for reason, count in sorted(manifest.skipped.items()):
        console.note(f"left out: {reason} {count:,}")
    console.note(f"next: tastemaker-server publish-lists --lists {request.folder}")
    console.print_path(outcome.folder)
