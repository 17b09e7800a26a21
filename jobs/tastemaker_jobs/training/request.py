"""What goes into a training run and what comes out. Without TensorFlow: who only asks for a run need not load it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tastemaker_jobs.data.data_files import DataFiles
from tastemaker_jobs.evaluation.metrics import Figure

__all__ = ["Trained", "TrainingRequest", "TrainingResult", "Workers"]


@dataclass(frozen=True)
class Workers:
    """Who trains a model together, and what survives them."""

    count: int
    """N, 1 or more: processes, each a worker to Ray."""
    storage: str
    """Folder or URI of checkpoints; must mean the same on every node."""
    run_id: str
    """The same again goes on where the last run of that id ended."""
    gpu: bool = False
    """One GPU for each process."""
    cores: int = 1
    """Of each process."""
    processes_each: int = 1
    """How many of the processes are one worker to who asked for them: --gpus-per-worker."""
    checkpoint_every: int = 1
    """Epochs. The best and the last one are kept whatever this is."""
    retries: int = 3
    """How often lost workers are replaced."""
    mixed_precision: bool = False
    """See `training.speed`."""
    xla: bool = False
    """See `training.speed`."""

    @property
    def as_asked(self) -> str:
        """How many, in the words of who asked for them.

        >>> Workers(8, "runs", "r", gpu=True, processes_each=4).as_asked
        '2 workers of 4 GPUs'
        """
        count = self.count // self.processes_each
        text = "1 worker" if count == 1 else f"{count} workers"
        return text if self.processes_each == 1 else f"{text} of {self.processes_each} GPUs"


@dataclass(frozen=True)
class TrainingRequest:
    """What to train on what. Small, so that it travels to a worker; the paths must mean the same there."""

    model: str
    """A name of `MODEL_NAMES`."""
    data: DataFiles
    """On what."""
    model_dir: Path
    """Holds, or will hold, `<version>/`."""
    seed: int
    """0 or more. One seed gives one model."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """In place of the model's defaults, by the names of its config's fields."""


@dataclass(frozen=True)
class Trained:
    """How training went."""

    epochs: int
    """How many were run."""
    best_epoch: int
    """The one whose weights the model now has, from 1; the last one without validation items."""
    valid_ndcg: float
    """NDCG@10, or a classifier's accuracy, on the validation items at that epoch; NaN without any."""
    seconds: float
    """Wall time of the loop."""


@dataclass(frozen=True)
class TrainingResult:
    """What came out."""

    model: str
    """The model's name."""
    version_dir: Path
    """Where it was published."""
    trained: Trained
    """How training went."""
    figures: list[Figure]
    """Of the exported model, on the test items."""
    baselines: dict[str, list[Figure]]
    """Of each baseline, on the same items."""
