"""Where training can be watched besides the terminal: TensorBoard's event files, an MLflow server, Prometheus."""

import contextlib
import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from tastemaker_jobs.errors import ConfigError, TastemakerJobsError, TrackingError
from tastemaker_jobs.job_metrics import JobMetrics
from tastemaker_jobs.training.progress import EpochEvent, Report, StageEvent
from tastemaker_jobs.training.request import TrainingRequest, TrainingResult

__all__ = ["Finished", "tracked"]

Finished = Callable[[TrainingResult], None]
"""Told of each model's result."""


@contextlib.contextmanager
def tracked(
    report: Report,
    requests: Sequence[TrainingRequest],
    *,
    tensorboard: Path | None,
    mlflow_uri: str | None,
    metrics: JobMetrics,
) -> Iterator[tuple[Report, Finished]]:
    """While the block runs, what training tells goes to a listener and to whatever else is named.

    Args:
        report: The listener.
        requests: What is trained, for the parameters.
        tensorboard: Folder of event files, one folder for each model.
        mlflow_uri: Of a tracking server, or a folder.
        metrics: What Prometheus reads, if anybody asked for it.

    Raises:
        TrackingError: The folder or the server cannot be written.
        ConfigError: An MLflow URI is set, and MLflow is not installed.
    """
    with contextlib.ExitStack() as stack:
        trackers: list[_TensorBoard | _Mlflow] = []
        if tensorboard is not None:
            trackers.append(stack.enter_context(contextlib.closing(_TensorBoard(tensorboard))))
        if mlflow_uri is not None:
            runs = _Mlflow(mlflow_uri, requests)
            stack.push(runs.ended)
            trackers.append(runs)
        done = 0
        metrics.parts("model", done, len(requests))

        def told(event: StageEvent | EpochEvent) -> None:
            report(event)
            metrics.told(event)
            if isinstance(event, EpochEvent):
                for tracker in trackers:
                    tracker.epoch(event)

        def finished(result: TrainingResult) -> None:
            nonlocal done
            done += 1
            metrics.parts("model", done, len(requests))
            for tracker in trackers:
                tracker.finished(result)

        yield told, finished


def _figures(event: EpochEvent) -> dict[str, float]:
    """What an epoch is known by, under the names that both trackers show."""
    found = {"loss": event.loss, f"validation {event.measure}": event.valid_ndcg, "seconds per epoch": event.seconds}
    return {name: value for name, value in found.items() if not math.isnan(value)}


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrackingError(f"--tensorboard {folder} cannot be written: {error.strerror}. Name another.") from error

    def epoch(self, event: EpochEvent) -> None:
        self._write(event.model, _figures(event), step=event.epoch)

    def finished(self, result: TrainingResult) -> None:
        figures = {f"test {figure.name}": figure.value for figure in result.figures}
        self._write(result.model, figures, step=result.trained.epochs)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _write(self, model: str, figures: dict[str, float], *, step: int) -> None:
        if model not in self._writers:
            self._writers[model] = SummaryWriter(str(self._folder / model))
        for name, value in figures.items():
            self._writers[model].add_scalar(name, value, step)
        self._writers[model].flush()


class _Mlflow:
    """A run for each model, in an experiment named after the data."""

    def __init__(self, uri: str, requests: Sequence[TrainingRequest]) -> None:
        try:
            tracking: Any = importlib.import_module("mlflow.tracking")
        except ImportError as error:
            raise ConfigError(
                "MLFLOW_TRACKING_URI is set, and MLflow is not installed. Install tastemaker[mlflow], or unset it."
            ) from error
        self._runs: dict[str, str] = {}
        with _told_of(uri):
            self._client = tracking.MlflowClient(tracking_uri=uri)
            for request in requests:
                self._runs[request.model] = self._begin(request)
        self._uri = uri

    def epoch(self, event: EpochEvent) -> None:
        run = self._runs.get(event.model)  # the parts of a blend have none of their own
        if run is not None:
            self._log(run, _figures(event), step=event.epoch)

    def finished(self, result: TrainingResult) -> None:
        run = self._runs.pop(result.model)
        self._log(run, {f"test {figure.name}": figure.value for figure in result.figures}, step=result.trained.epochs)
        with _told_of(self._uri):
            self._client.set_tag(run, "version_dir", str(result.version_dir))
            self._client.set_terminated(run, "FINISHED")

    def ended(self, *_: object) -> None:
        """What has no result by now has failed."""
        for run in self._runs.values():
            with contextlib.suppress(Exception):  # the reason is on its way to the user already
                self._client.set_terminated(run, "FAILED")

    def _begin(self, request: TrainingRequest) -> str:
        experiment = self._client.get_experiment_by_name(request.data.dataset)
        number = experiment.experiment_id if experiment else self._client.create_experiment(request.data.dataset)
        run: str = self._client.create_run(number, run_name=f"{request.model}, seed {request.seed}").info.run_id
        for name, value in {"model": request.model, "seed": request.seed, **request.settings}.items():
            self._client.log_param(run, name, value)
        return run

    def _log(self, run: str, figures: dict[str, float], *, step: int) -> None:
        with _told_of(self._uri):
            for name, value in figures.items():
                self._client.log_metric(run, name.replace("@", " at "), value, step=step)  # MLflow forbids @


@contextlib.contextmanager
def _told_of(uri: str) -> Iterator[None]:
    try:
        yield
    except TastemakerJobsError:
        raise
    except Exception as error:  # MLflow's own errors and those of three libraries beneath it
        raise TrackingError(
            f"MLflow at {uri} cannot be told: {str(error).rstrip('.')}. Mend it, or unset MLFLOW_TRACKING_URI."
        ) from error
