"""The model server's config file: which versions of a model it serves, and which of them its labels name.

The file is TensorFlow Serving's own (`--model_config_file`, text-proto ModelServerConfig); what others wrote into it is
kept. Comments go with a change: text-proto has no place for them once it is read. Without a change the file is
written as it was.
"""

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tastemaker_jobs.errors import ServingConfigError

__all__ = ["ServingConfig"]


class ServingConfig:
    """A config file as read; changes stay in memory until `write`."""

    def __init__(self, path: Path, message: model_server_config_pb2.ModelServerConfig, text: str = "") -> None:
        self.path = path
        self._message = message
        self._text = text

    @classmethod
    def read(cls, path: Path) -> "ServingConfig":
        """Read the file.

        Raises:
            ServingConfigError: It cannot be read, or is no ModelServerConfig.
        """
        message = model_server_config_pb2.ModelServerConfig()
        try:
            text = path.read_text("utf-8")
            text_format.Parse(text, message)
        except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
            raise ServingConfigError(
                f"{path} is not a model server's config file that can be read: {error}. Give the file that it is"
                " started with (--model_config_file)."
            ) from error
        return cls(path, message, text)

    def copy(self) -> "ServingConfig":
        """The same, to be changed on its own."""
        message = model_server_config_pb2.ModelServerConfig()
        message.CopyFrom(self._message)
        return ServingConfig(self.path, message)

    def names(self) -> list[str]:
        """The models, in the file's order."""
        return [model.name for model in self._message.model_config_list.config]

    def base_path(self, name: str) -> Path:
        """Where a model's versions lie."""
        return Path(self._model(name).base_path)

    def labels(self, name: str) -> dict[str, int]:
        """A model's labels and the versions that they name."""
        return dict(self._model(name).version_labels)

    def versions(self, name: str) -> list[int] | None:
        """The versions that a model serves, rising; None where the file leaves it to the server, as `latest` does."""
        policy = self._model(name).model_version_policy
        return sorted(policy.specific.versions) if policy.HasField("specific") else None

    def serve(self, name: str, versions: Iterable[int], labels: Mapping[str, int]) -> None:
        """Set what a model serves.

        Args:
            name: The model.
            versions: All of them.
            labels: Label to one of the versions.
        """
        self._text = ""
        model = self._model(name)
        model.model_version_policy.Clear()
        model.model_version_policy.specific.versions.extend(sorted(set(versions)))
        model.version_labels.clear()
        model.version_labels.update(labels)

    def write(self) -> None:
        """Replace the file in one step: a server that polls it never reads half of it.

        Raises:
            ServingConfigError: It cannot be written.
        """
        try:
            descriptor, draft = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(self._text or text_format.MessageToString(self._message))
                    file.flush()
                    os.fsync(file.fileno())
                Path(draft).chmod(self.path.stat().st_mode if self.path.exists() else 0o644)
                Path(draft).replace(self.path)
            except BaseException:
                Path(draft).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise ServingConfigError(f"{self.path} cannot be written: {error.strerror or error}.") from error

    def serialized(self) -> bytes:
        """As the reload call wants it."""
        return bytes(self._message.SerializeToString())

    def _model(self, name: str) -> model_server_config_pb2.ModelConfig:
        for model in self._message.model_config_list.config:
            if model.name == name:
                return model
        raise ServingConfigError(
            f"{self.path} has no model {name!r}; it has {', '.join(self.names()) or 'none'}. Add it there."
        )
