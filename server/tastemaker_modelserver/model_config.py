"""What the models of this process are: TensorFlow Serving's ModelServerConfig, checked and turned into plain values.

The same checks serve the flags, `--model_config_file` and the reload call, so one bad config gets one message
everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tensorflow_serving.config import model_server_config_pb2

from tastemaker_modelserver.errors import FailedPreconditionError, InvalidArgumentError
from tastemaker_modelserver.flags import Flags
from tastemaker_modelserver.text_config import read_text_proto

__all__ = [
    "AllVersions",
    "LatestVersions",
    "ModelSettings",
    "SpecificVersions",
    "from_proto",
    "models_of",
    "read_config",
    "single_model",
]

_PLATFORM = "tensorflow"
_TYPE = "ModelServerConfig::model_type (deprecated)"
_PLATFORM_FIELD = "ModelServerConfig::model_platform"


@dataclass(frozen=True)
class LatestVersions:
    """Serve the `count` highest versions."""

    count: int = 1


@dataclass(frozen=True)
class AllVersions:
    """Serve every version in the folder."""


@dataclass(frozen=True)
class SpecificVersions:
    """Serve exactly these versions, as far as they exist."""

    versions: frozenset[int]


VersionPolicy = LatestVersions | AllVersions | SpecificVersions


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """One model of the config."""

    name: str
    """What a ModelSpec calls it."""
    base_path: Path
    """Folder with one numbered folder per version."""
    policy: VersionPolicy = LatestVersions()
    """Which of its versions serve."""
    labels: Mapping[str, int] = field(default_factory=dict)
    """Label → version."""


def models_of(flags: Flags) -> tuple[ModelSettings, ...]:
    """The models that the flags name.

    Raises:
        ServingError: The config file is wrong.
    """
    if flags.model_config_file:
        return read_config(Path(flags.model_config_file))
    return single_model(flags.model_name, flags.model_base_path)


def single_model(name: str, base_path: str) -> tuple[ModelSettings, ...]:
    """The config of `--model_name` and `--model_base_path`. A relative path counts from the working folder."""
    return (ModelSettings(name=name, base_path=Path(base_path).absolute()),)


def read_config(path: Path) -> tuple[ModelSettings, ...]:
    """Reads `--model_config_file`.

    Raises:
        InvalidArgumentError: The file cannot be read, does not parse, or says something that cannot be.
    """
    return from_proto(read_text_proto(path, model_server_config_pb2.ModelServerConfig()))


def from_proto(config: model_server_config_pb2.ModelServerConfig) -> tuple[ModelSettings, ...]:
    """Checks a ModelServerConfig and returns its models; every mistake is in the one error.

    Raises:
        InvalidArgumentError: A model is listed twice, has no name, a relative path, or another platform than
        TensorFlow.
        FailedPreconditionError: The config is a `custom_model_config`.
    """
    if config.WhichOneof("config") == "custom_model_config":
        raise FailedPreconditionError("Only model_config_list is supported, custom_model_config is not")
    problems: list[str] = []
    models: dict[str, ModelSettings] = {}
    for entry in config.model_config_list.config:
        if not entry.name:
            problems.append(f"A model has no name, its base_path is {entry.base_path!r}")
        if entry.name in models:
            problems.append(f"Illegal to list model {entry.name} multiple times in config list")
        if not Path(entry.base_path).is_absolute():
            problems.append(
                f"Expected model {entry.name} to have an absolute path or URI; got base_path()={entry.base_path}"
            )
        problems += _platform_problems(entry)
        models[entry.name] = ModelSettings(
            name=entry.name,
            base_path=Path(entry.base_path),
            policy=_policy(entry.model_version_policy),
            labels=dict(entry.version_labels),
        )
    if problems:
        raise InvalidArgumentError("; ".join(problems))
    return tuple(models.values())


def _platform_problems(entry: model_server_config_pb2.ModelConfig) -> list[str]:
    if entry.model_type:
        if entry.model_platform:
            return [f"Illegal setting both {_TYPE} and {_PLATFORM_FIELD}, model name is {entry.name}"]
        if entry.model_type != model_server_config_pb2.TENSORFLOW:
            return [f"ModelServerConfig::model_type choice {entry.model_type} not supported."]
        return []
    if not entry.model_platform:
        return [f"Illegal setting neither {_TYPE} nor {_PLATFORM_FIELD}, model name is {entry.name}"]
    if entry.model_platform != _PLATFORM:
        return [f"Model {entry.name} requests unsupported platform {entry.model_platform}"]
    return []


def _policy(policy: Any) -> VersionPolicy:
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return AllVersions()
    if choice == "specific":
        return SpecificVersions(frozenset(policy.specific.versions))
    return LatestVersions(max(1, policy.latest.num_versions))
