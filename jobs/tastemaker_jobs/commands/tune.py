"""`tastemaker-jobs tune`: search good settings of a model, and write the winner as TOML."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tastemaker_jobs import console, environment
from tastemaker_jobs.commands.output import write_output
from tastemaker_jobs.data.contents import contents_of
from tastemaker_jobs.data.data_files import DataFiles
from tastemaker_jobs.errors import ConfigError
from tastemaker_jobs.evaluation.inputs import read_features, read_split
from tastemaker_jobs.publishing.versions import check_writable
from tastemaker_jobs.quiet import start_tensorflow
from tastemaker_jobs.search_record import claim_search

__all__ = ["tune"]


def tune(
    *,
    model: str,
    data: DataFiles,
    trials: int,
    seed: int,
    settings: Mapping[str, Any],
    out: Path,
    address: str | None,
) -> None:
    """Search, and write `best.toml`, which `train --config` takes.

    Args:
        model: Its name.
        data: On what. The test part of a split is not looked at.
        trials: How many settings to try at most.
        seed: Of what is proposed, and of each trial's training.
        settings: Held fixed in every trial.
        out: Folder for the search's state and best.toml; a search that was cut off goes on.
        address: Of a running Ray cluster.

    Raises:
        ConfigError: There is nothing to search.
        DataError: The folder is of another search.
    """
    read_split(data)
    read_features(data)
    check_writable(out)
    console.note(f"tuning {model} on {data.dataset}, {trials} trials; starting TensorFlow and Ray")
    start_tensorflow()
    from tastemaker_jobs.models import model_class
    from tastemaker_jobs.publishing.manifests import as_toml
    from tastemaker_jobs.training.settings import config_of
    from tastemaker_jobs.tuning import TuningRequest, search

    kind = model_class(model)
    config_of(kind, settings)
    space = {name: domain for name, domain in kind.search_space.items() if name not in settings}
    if not space:
        raise ConfigError(f"{model} has no search space left to tune" + (": all is fixed." if settings else "."))
    question = {"model": model, "trials": trials, "seed": seed, "settings": settings, "data": contents_of(data)}
    claim_search(out, question | {"search space": space})
    request = TuningRequest(model, data, trials, seed, out.resolve() / "search", settings)
    with console.progress() as report:
        winner = search(request, space, address=address or environment.ray_address(), report=report)
    config = config_of(kind, winner.settings)
    head = (
        f"# {model}, tuned on {data.dataset}: validation NDCG@10 {winner.valid_ndcg:.4f} at epoch {winner.epochs},\n"
        f"# the best of {winner.trials} trials. Chosen on validation events; judge it with `evaluate`.\n"
    )
    changed = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != getattr(kind.config_class(), field.name)
    }
    console.note(f"{model}: validation NDCG@10 {winner.valid_ndcg:.4f} with {changed}")
    write_output(out / "best.toml", head + as_toml(config))
