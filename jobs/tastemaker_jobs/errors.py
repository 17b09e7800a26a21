"""Everything that the jobs raise on purpose. Whatever else comes out of them is a bug.

    TastemakerJobsError
    ├── DataError
    │   ├── TableFormatError          a file breaks its format; lists where
    │   │   ├── ImagesFormatError
    │   │   ├── ItemsFormatError
    │   │   └── RatingsFormatError
    │   ├── ChecksumError             the bytes are not the data set that they claim to be
    │   ├── DatasetUnavailableError   no source could give the data set
    │   └── TooFewRatingsError        nothing to train or to test on
    ├── LeakageError                  a model would be judged by what it has seen; lists how
    ├── UnknownModelError             no model of that name
    ├── LogSettingError               TASTEMAKER_LOG_FORMAT or TASTEMAKER_LOG_LEVEL has a bad value
    ├── ConfigError                   a training setting is out of range
    ├── TrackingError                 TensorBoard's folder or MLflow's server cannot be written, or metrics not served
    ├── TrainingDivergedError         the loss became NaN or infinite
    ├── TuningError                   no trial of a search ended well
    ├── ModelsDirError                the models folder cannot be written or read
    │   └── NoVersionError            no version of that model is published
    ├── ModelLoadError                a SavedModel is corrupt or has no manifest
    ├── ContractError                 a SavedModel breaks the contract of the signatures; lists how
    ├── GateError                     a version should not go live; lists why
    ├── ListsError                    the lists folder cannot be written, or a generation there cannot be used
    ├── PromotionError                a label could not be moved, and is where it was
    │   └── ServingConfigError        the model server's config file cannot be read, or lacks the model
    └── RayError
        ├── ClusterTooSmallError      the Ray cluster has not what a job asks for
        ├── RayStartError             Ray did not start or could not be reached
        └── WorkerLostError           Ray workers kept dying, retries included

Each message is one or more whole sentences for the person at the terminal: what is wrong, where, and what to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "CheckpointError",
    "ChecksumError",
    "ClusterTooSmallError",
    "ConfigError",
    "ContractError",
    "DataError",
    "DatasetUnavailableError",
    "GateError",
    "ImagesFormatError",
    "ItemsFormatError",
    "LeakageError",
    "ListsError",
    "LogSettingError",
    "ModelLoadError",
    "ModelsDirError",
    "NoVersionError",
    "PromotionError",
    "RatingsFormatError",
    "RatingsProblem",
    "RayError",
    "RayStartError",
    "RowProblem",
    "ServingConfigError",
    "TableFormatError",
    "TastemakerJobsError",
    "TooFewRatingsError",
    "TrackingError",
    "TrainingDivergedError",
    "TuningError",
    "UnknownModelError",
    "WorkerLostError",
]


class TastemakerJobsError(Exception):
    """Base of every error that the jobs raise on purpose."""


class DataError(TastemakerJobsError):
    """The input data cannot be had or cannot be used."""


@dataclass(frozen=True)
class RatingsProblem:
    """One place where a ratings file breaks the format."""

    line: int
    """Line in the file, the header being line 1."""
    column: str
    """The column's name, or what else says where in the line."""
    found: str
    """What stands there, shortened."""
    expected: str
    """What should stand there."""

    def __str__(self) -> str:
        return f"line {self.line}, {self.column}: found {self.found}, expected {self.expected}"


@dataclass(frozen=True)
class RowProblem(RatingsProblem):
    """The same in a file that has rows in place of lines; row 0 is the file as a whole."""

    def __str__(self) -> str:
        place = f"row {self.line}, " if self.line else ""
        return f"{place}{self.column}: found {self.found}, expected {self.expected}"


class TableFormatError(DataError):
    """A file breaks its format. Nothing of it was used."""

    what = "table"
    """What the file should have been."""

    def __init__(self, path: Path, problems: Sequence[RatingsProblem], *, more: bool = False) -> None:
        self.path = path
        self.problems = tuple(problems)
        places = "\n".join(f"  {problem}" for problem in problems)
        rest = "\n  ... and possibly more: reading stopped there." if more else ""
        super().__init__(f"{path} is not a {self.what} that can be read; nothing was done.\n{places}{rest}")

    def __reduce__(self) -> tuple[object, ...]:  # args hold the text alone, and Ray pickles errors on their way home
        return _rebuild_table_format_error, (type(self), self.path, list(self.problems), str(self))


def _rebuild_table_format_error(
    kind: type[TableFormatError], path: Path, problems: list[RatingsProblem], text: str
) -> TableFormatError:
    error = kind(path, problems)
    error.args = (text,)
    return error


class ImagesFormatError(TableFormatError):
    """A file of labelled images breaks the format."""

    what = "Parquet file of labelled images"


class ItemsFormatError(TableFormatError):
    """A list of items breaks the format."""

    what = "list of items"


class RatingsFormatError(TableFormatError):
    """A ratings file breaks the format."""

    what = "ratings file"


class ChecksumError(DataError):
    """The bytes are not the data set that they claim to be."""


class DatasetUnavailableError(DataError):
    """No source could give the data set; the message has each source's reason."""


class TooFewRatingsError(DataError):
    """There is nothing to train on."""


class LeakageError(TastemakerJobsError):
    """A model would be judged by what it has seen. Nothing was judged."""

    def __init__(self, what: str, leaks: Sequence[str], fix: str) -> None:
        self.what = what
        self.leaks = tuple(leaks)
        self.fix = fix
        places = "\n".join(f"  {leak}" for leak in leaks)
        super().__init__(f"{what} leaks test data into training.\n{places}\n{fix}")

    def __reduce__(self) -> tuple[object, ...]:  # args hold the text alone, and Ray pickles errors on their way home
        return type(self), (self.what, self.leaks, self.fix)


class UnknownModelError(TastemakerJobsError):
    """No model of that name."""


class LogSettingError(TastemakerJobsError):
    """A variable of the environment that sets up the log has a bad value."""


class ConfigError(TastemakerJobsError):
    """A training setting is out of its range."""


class TrackingError(TastemakerJobsError):
    """Where training was to be tracked cannot be written."""


class TrainingDivergedError(TastemakerJobsError):
    """The loss became NaN or infinite."""


class TuningError(TastemakerJobsError):
    """No trial of a search ended well."""


class ModelsDirError(TastemakerJobsError):
    """The models folder cannot be written or read."""


class NoVersionError(ModelsDirError):
    """No version of that model is published."""


class ModelLoadError(TastemakerJobsError):
    """A SavedModel is corrupt, or its manifest cannot be read."""


class ContractError(TastemakerJobsError):
    """A SavedModel does not keep the contract of the signatures. It was not published."""


class GateError(TastemakerJobsError):
    """A version should not go live, and nobody forced it. It was not published."""

    def __init__(self, folder: Path, objections: Sequence[str]) -> None:
        self.folder = folder
        self.objections = tuple(objections)
        lines = "\n".join(f"  {objection}" for objection in objections)
        fix = 'Make it better, or publish it all the same with --force "REASON", which its manifest will keep.'
        super().__init__(f"{folder} was not published:\n{lines}\n{fix}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.folder, self.objections)


class ListsError(TastemakerJobsError):
    """The lists folder cannot be written, or a generation that lies there cannot be used."""


class PromotionError(TastemakerJobsError):
    """A label could not be moved. It is where it was."""


class ServingConfigError(PromotionError):
    """The model server's config file cannot be read or written, or does not have the model."""


class RayError(TastemakerJobsError):
    """Ray did not do its part."""


class RayStartError(RayError):
    """Ray did not start, or the cluster could not be reached."""


class ClusterTooSmallError(RayError):
    """The Ray cluster has not what a job asks for."""


class WorkerLostError(RayError):
    """The worker died on every attempt."""


class CheckpointError(TastemakerJobsError):
    """What a run on workers must keep cannot be written."""
