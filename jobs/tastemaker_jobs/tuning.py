"""Hyperparameter search with Ray Tune: Optuna proposes settings, ASHA ends trials that fall behind.

Each trial trains on the split's training part and is judged by the validation part; the test part is not looked at.
Only wraps `learn_split`, which knows nothing of Ray.
"""

import logging
import warnings
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from ray import tune
from ray.exceptions import RayError as UpstreamError
from ray.tune.error import TuneError
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from tastemaker_jobs import environment
from tastemaker_jobs.data.data_files import DataFiles
from tastemaker_jobs.errors import TuningError
from tastemaker_jobs.models.search_space import Choice, Domain, LogUniform
from tastemaker_jobs.ray_cluster import connected
from tastemaker_jobs.training.progress import EpochEvent, Report, StageEvent

__all__ = ["TuningRequest", "Winner", "search"]

_METRIC = "valid_ndcg"
_GRACE_EPOCHS = 2
_LISTENER: ContextVar[Report] = ContextVar("listener")  # of this process: a search that goes on has another one


@dataclass(frozen=True)
class TuningRequest:
    """What to search. Small, so that it travels to workers; the paths must mean the same there."""

    model: str
    """A name of `MODEL_NAMES`."""
    data: DataFiles
    """On what."""
    trials: int
    """How many settings to try at most. 1 or more."""
    seed: int
    """Of what is proposed, and of each trial's training."""
    folder: Path
    """Where the search keeps its state; one that was cut off goes on from there."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Held fixed in every trial."""


@dataclass(frozen=True)
class Winner:
    """The best settings found."""

    settings: Mapping[str, Any]
    """What differs from the model's defaults: proposed and fixed ones."""
    valid_ndcg: float
    """Best NDCG@10 on the validation events."""
    epochs: int
    """At which epoch."""
    trials: int
    """How many ended well, in all."""


def search(request: TuningRequest, space: Mapping[str, Domain], *, address: str | None, report: Report) -> Winner:
    """Run the trials that are still missing and return the best of all.

    Args:
        request: What to search.
        space: Setting to what may be tried.
        address: Of a running cluster; None starts one on this machine and ends it afterwards.
        report: Told of each trial's result.

    Raises:
        RayStartError: Ray did not start.
        TuningError: No trial ended well, says why the last one did not; or Ray did not go on with the search.
    """
    environment.keep_searches()
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with connected(address), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray Tune announces its own future at every call
        listener = _LISTENER.set(report)
        try:
            results = _tuner(request, space).fit()
        except (TuneError, UpstreamError, OSError, RuntimeError, ValueError) as error:
            last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise TuningError(
                f"{request.model}: Ray did not go on with the search in {request.folder}: {last[:300]}\nThe same"
                " command goes on with it; finished trials are kept."
            ) from error
        finally:
            _LISTENER.reset(listener)
    good = [result for result in results if result.metrics and _METRIC in result.metrics]
    if not good:
        errors = [str(error) for error in results.errors]
        raise TuningError(f"{request.model}: no trial ended well. The last one: {errors[-1] if errors else 'no error'}")
    best = max(good, key=lambda result: float(result.metrics["best_ndcg"]))
    settings = {**request.settings, **{name: best.config[name] for name in space}}
    return Winner(settings, float(best.metrics["best_ndcg"]), int(best.metrics["best_epoch"]), len(good))


def _tuner(request: TuningRequest, space: Mapping[str, Domain]) -> Any:
    trainable = tune.with_resources(tune.with_parameters(_trial, request=request), {"cpu": 1})
    run = request.folder.resolve()
    if tune.Tuner.can_restore(str(run)):
        _LISTENER.get()(StageEvent(request.model, "going on with the search that is there", is_restart=True))
        return tune.Tuner.restore(str(run), trainable, resume_unfinished=True, restart_errored=True)
    epochs = request.settings.get("epochs")
    return tune.Tuner(
        trainable,
        param_space={name: _domain(domain) for name, domain in space.items()},
        tune_config=tune.TuneConfig(
            metric=_METRIC,
            mode="max",
            num_samples=request.trials,
            search_alg=OptunaSearch(seed=request.seed),
            scheduler=ASHAScheduler(max_t=max(_GRACE_EPOCHS, int(epochs or 100)), grace_period=_GRACE_EPOCHS),
        ),
        run_config=tune.RunConfig(
            name=run.name, storage_path=str(run.parent), verbose=0, callbacks=[_Told(request.model)]
        ),
    )


class _Told(tune.Callback):
    """Tells the process's listener of trials as they end, and of those that had ended before. Kept with the search."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._began = False

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        del iteration, info
        self._tell_what_was_there(trials)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        del info
        self._tell_what_was_there(trials)  # where nothing was left to do, there was no step

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        del iteration, info
        best = trial.last_result.get("best_ndcg", float("nan"))
        self._tell(f"trial {_ended(trials, trial)}: validation NDCG@10 {best:.4f}, {trial.config}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        del iteration, info
        self._tell(f"trial {_ended(trials, trial)} failed, {trial.config}; {trial.error_file or 'its node is gone'}")

    def _tell_what_was_there(self, trials: list[Any]) -> None:
        if not self._began and (ended := sum(trial.is_finished() for trial in trials)):
            self._tell(f"trials finished before: {ended}")
        self._began = True

    def _tell(self, text: str) -> None:
        _LISTENER.get()(StageEvent(self._model, text))

    def __getstate__(self) -> dict[str, Any]:  # a search that goes on tells anew what was there
        return {**vars(self), "_began": False}


def _ended(trials: list[Any], trial: Any) -> int:
    """How many have, with this one, whose state may not say so yet."""
    return len({one.trial_id for one in trials if one.is_finished()} | {trial.trial_id})


def _trial(proposed: dict[str, Any], *, request: TuningRequest) -> None:
    from tastemaker_jobs.evaluation.inputs import read_features, read_split
    from tastemaker_jobs.models import model_class
    from tastemaker_jobs.training.learning import learn_split
    from tastemaker_jobs.training.settings import config_of

    kind = model_class(request.model)
    config = config_of(kind, {**request.settings, **proposed})
    best, best_epoch = 0.0, 0

    def judged(ndcg: float, epoch: int) -> None:
        nonlocal best, best_epoch
        if ndcg > best:
            best, best_epoch = ndcg, epoch
        tune.report({_METRIC: ndcg, "best_ndcg": best, "best_epoch": best_epoch})

    def told(event: StageEvent | EpochEvent) -> None:
        if isinstance(event, EpochEvent) and event.model == request.model:  # not of a part
            judged(event.valid_ndcg, event.epoch)

    split, features = read_split(request.data), read_features(request.data)
    trained = learn_split(kind, config, split, features, seed=request.seed, report=told).trained
    if not best_epoch:  # computed, or blended of parts: judged once, at the end
        judged(trained.valid_ndcg, trained.best_epoch)


def _domain(domain: Domain) -> Any:
    if isinstance(domain, Choice):
        return tune.choice(list(domain.values))
    if isinstance(domain, LogUniform):
        return tune.loguniform(domain.low, domain.high)
    return tune.uniform(domain.low, domain.high)
