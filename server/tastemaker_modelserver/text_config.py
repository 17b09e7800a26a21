"""Text-proto files: reading them, and the three messages that `tensorflow-serving-api` does not ship.

`BatchingParameters`, `SSLConfig` and `MonitoringConfig` belong to TensorFlow Serving's file formats but not to its
Python package. Their fields are declared here as a table and built in a descriptor pool of their own, so that they
can never meet another package's registration of the same names.
"""

from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from google.protobuf.message import Message

from tastemaker_modelserver.errors import InvalidArgumentError

__all__ = ["batching_parameters", "monitoring_config", "parse_text", "read_text_proto", "ssl_config"]

M = TypeVar("M", bound=Message)

_FIELD = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "tensorflow.serving"
_INT64 = ".google.protobuf.Int64Value"
_BOOL = ".google.protobuf.BoolValue"
_STRING = ".google.protobuf.StringValue"

# message → (field, number, type or message name, repeated)
_MESSAGES: dict[str, list[tuple[str, int, Any, bool]]] = {
    "BatchingParameters": [
        ("max_batch_size", 1, _INT64, False),
        ("batch_timeout_micros", 2, _INT64, False),
        ("max_enqueued_batches", 3, _INT64, False),
        ("num_batch_threads", 4, _INT64, False),
        ("thread_pool_name", 5, _STRING, False),
        ("allowed_batch_sizes", 6, _FIELD.TYPE_INT64, True),
        ("pad_variable_length_inputs", 7, _FIELD.TYPE_BOOL, False),
        ("enable_large_batch_splitting", 8, _BOOL, False),
        ("max_execution_batch_size", 9, _INT64, False),
    ],
    "SSLConfig": [
        ("server_key", 1, _FIELD.TYPE_STRING, False),
        ("server_cert", 2, _FIELD.TYPE_STRING, False),
        ("custom_ca", 3, _FIELD.TYPE_STRING, False),
        ("client_verify", 4, _FIELD.TYPE_BOOL, False),
    ],
    "PrometheusConfig": [
        ("enable", 1, _FIELD.TYPE_BOOL, False),
        ("path", 2, _FIELD.TYPE_STRING, False),
    ],
    "MonitoringConfig": [("prometheus_config", 1, f".{_PACKAGE}.PrometheusConfig", False)],
}


def batching_parameters(path: Path) -> Any:
    """Reads a BatchingParameters file.

    Raises:
        InvalidArgumentError: The file cannot be read or does not parse.
    """
    return read_text_proto(path, _new("BatchingParameters"))


def ssl_config(path: Path) -> Any:
    """Reads an SSLConfig file; raises as `batching_parameters`."""
    return read_text_proto(path, _new("SSLConfig"))


def monitoring_config(path: Path) -> Any:
    """Reads a MonitoringConfig file; raises as `batching_parameters`."""
    return read_text_proto(path, _new("MonitoringConfig"))


def read_text_proto(path: Path, message: M) -> M:
    """Fills `message` from the text-proto file `path` and returns it.

    Raises:
        InvalidArgumentError: The file cannot be read or does not parse; the text names file, line and column.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"Cannot read {path}: {error}") from error
    return parse_text(text, message, source=str(path))


def parse_text(text: str, message: M, *, source: str) -> M:
    """Fills `message` from text-proto; `source` names the text in the error, as TensorFlow Serving words it."""
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise InvalidArgumentError(
            f"Error parsing text-format {message.DESCRIPTOR.full_name}: {error} in {source}"
        ) from error
    return message


def _new(name: str) -> Any:
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    file = descriptor_pb2.FileDescriptorProto(
        name="tastemaker_modelserver/text_config.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[wrappers.name],
    )
    for message, fields in _MESSAGES.items():
        declared = file.message_type.add(name=message)
        for field, number, kind, repeated in fields:
            label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            if isinstance(kind, str):
                declared.field.add(name=field, number=number, label=label, type=_FIELD.TYPE_MESSAGE, type_name=kind)
            else:
                declared.field.add(name=field, number=number, label=label, type=kind)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))()
