"""`tastemaker-jobs publish`, `promote`, `rollback` and `models`: from a trained version to the one that serves."""

import datetime
from pathlib import Path

from google.protobuf import json_format
from rich.table import Table

from tastemaker_jobs import console
from tastemaker_jobs.publishing.manifests import read_manifest
from tastemaker_jobs.publishing.versions import check_writable, version_folder, versions

__all__ = ["list_models", "move_label", "publish_version", "show_model"]


def publish_version(*, model_dir: Path, to: Path, name: str | None, force: str | None) -> None:
    """Check, gate, copy, and appear; see `registry.publishing.publish`."""
    from tastemaker_jobs.registry.publishing import publish

    folder = version_folder(str(model_dir.absolute()), models_dir=model_dir)
    check_writable(to)
    console.note(f"loading {folder} in a process of its own")
    published = publish(folder, models_dir=to.resolve(), name=name, force_reason=force)
    for objection in published.overruled:
        console.note(f"forced, although {objection}")
    console.print_path(published.folder)


def move_label(
    *,
    name: str,
    version: int | None,
    label: str,
    config_file: Path,
    server: str,
    via: str,
    keep: int,
    timeout_seconds: float,
) -> None:
    """`promote`, or with no version `rollback`; see `registry.promotion`."""
    from tastemaker_jobs.registry.promotion import promote, rollback
    from tastemaker_jobs.registry.serving import connected_to

    with connected_to(server) as serving:
        if version is None:
            moved = rollback(
                name,
                label=label,
                config_path=config_file,
                serving=serving,
                by_reload=via == "reload",
                keep=keep,
                timeout_seconds=timeout_seconds,
            )
        else:
            moved = promote(
                name,
                version,
                label=label,
                config_path=config_file,
                serving=serving,
                by_reload=via == "reload",
                keep=keep,
                timeout_seconds=timeout_seconds,
            )
    was = f"version {moved.previous}" if moved.previous else "nothing"
    console.note(f"{name}: {label} is now version {moved.version}; it was {was}")


def list_models(*, models_dir: Path, config_file: Path | None) -> None:
    """Every version of every model: when it was made, its first metric beside the best baseline's, its labels."""
    table = Table("model", "version", "made", "protocol", "metric", "best baseline", "labels")
    labels = _labels(config_file)
    for folder in sorted(path for path in models_dir.glob("*") if path.is_dir()):
        for version in versions(folder):
            manifest = read_manifest(folder / str(version))
            made = manifest.created_time.ToDatetime(tzinfo=datetime.UTC).strftime("%Y-%m-%d %H:%M")
            main = manifest.metrics[0] if manifest.metrics else None
            best = max(
                ((m.value, b.name) for b in manifest.baselines for m in b.metrics if main and m.name == main.name),
                default=None,
            )
            table.add_row(
                folder.name,
                str(version),
                made,
                main.protocol if main else "",
                f"{main.name} {main.value:.4f}" if main else "never judged",
                f"{best[1]} {best[0]:.4f}" if best else "",
                ", ".join(sorted(label for label, number in labels.get(folder.name, {}).items() if number == version)),
            )
    console.print_table(table)


def show_model(*, name: str, models_dir: Path) -> None:
    """A version's manifest as JSON: `name` (newest version), or a path of a model's folder or of a version's."""
    folder = version_folder(name, models_dir=models_dir)
    print(json_format.MessageToJson(read_manifest(folder), preserving_proto_field_name=True))  # noqa: T201  the answer


def _labels(config_file: Path | None) -> dict[str, dict[str, int]]:
    if config_file is None:
        return {}
    from tastemaker_jobs.registry.serving_config import ServingConfig

    config = ServingConfig.read(config_file)
    return {name: config.labels(name) for name in config.names()}
