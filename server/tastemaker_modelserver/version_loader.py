"""Loading one version: the SavedModel, its own batching parameters, its warm-up. `manager` decides when."""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tastemaker_modelserver.background import Priority, lowest_priority
from tastemaker_modelserver.batching_parameters import read_version_parameters
from tastemaker_modelserver.errors import UnimplementedError
from tastemaker_modelserver.examples import ExampleTasks
from tastemaker_modelserver.jobs import run_jobs
from tastemaker_modelserver.manager import Lease
from tastemaker_modelserver.metrics import Metrics
from tastemaker_modelserver.predict import Predictor
from tastemaker_modelserver.servable import Servable, load_saved_model
from tastemaker_modelserver.warmup import replay_warmup

__all__ = ["VersionLoader"]

_log = logging.getLogger(__name__)


class VersionLoader:
    """Loads versions; called by the manager's threads."""

    def __init__(
        self,
        *,
        predictor: Predictor,
        examples: ExampleTasks,
        metrics: Metrics,
        tags: Sequence[str],
        session_config: Any,
        warm_up: bool,
        warmup_iterations: int,
        own_batching: bool,
    ) -> None:
        """Keeps what loading needs.

        Args:
            predictor: Turns warm-up requests into jobs.
            examples: As well.
            metrics: Where warm-ups are counted.
            tags: Of the meta graph.
            session_config: ConfigProto of the sessions.
            warm_up: Whether to replay the version's warm-up requests.
            warmup_iterations: Times each is replayed.
            own_batching: Whether to read the version's own batching parameters.
        """
        self.gives_way = False
        """Whether calls are served meanwhile, to which loading gives way."""
        self._checks = {
            "predict_log": predictor.job_on,
            "classify_log": examples.classify_on,
            "regress_log": examples.regress_on,
            "multi_inference_log": examples.multi_inference_on,
        }
        self._metrics = metrics
        self._tags = tags
        self._session_config = session_config
        self._warm_up = warm_up
        self._iterations = warmup_iterations
        self._own_batching = own_batching

    def __call__(self, model: str, version: int, path: Path) -> Servable:
        """Loads and warms a version.

        Raises:
            Exception: Whatever went wrong; the manager turns it into a status.
        """
        _log.info("Loading servable version {name: %s version: %d} from %s", model, version, path)
        with lowest_priority() if self.gives_way else nullcontext(Priority.NORMAL) as priority:
            servable = self._load(version, path, priority)
        servable.priority = Priority.NORMAL
        return servable

    def _load(self, version: int, path: Path, priority: Priority) -> Servable:
        servable = load_saved_model(path, tags=self._tags, config=self._session_config, priority=priority)
        try:
            if self._own_batching:
                servable.batching = read_version_parameters(path)
            if self._warm_up:
                lease = Lease(servable, version)
                replay_warmup(
                    path, lambda log: self._replay(lease, log), iterations=self._iterations, metrics=self._metrics
                )
        except BaseException:
            servable.close()
            raise
        return servable

    def _replay(self, lease: Lease[Servable], log: Any) -> None:
        kind = log.WhichOneof("log_type")
        if kind is None:
            return
        if kind not in self._checks:
            raise UnimplementedError(f"Unsupported log_type for warmup: {kind}")
        job = self._checks[kind](lease, getattr(log, kind).request, deadline_s=float("inf"))
        ((arrays, error),) = run_jobs([job])
        if error is not None:
            raise error
        job.finish(arrays)
