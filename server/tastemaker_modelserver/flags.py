"""The command line: TensorFlow Serving's flags by name, default and meaning.

Every flag of `tensorflow_model_server` is accepted, so that a command line moves between the two servers unchanged.
Those that choose a feature which is left out here (`UNSUPPORTED`) stop the start when they ask for it; those without
a meaning in this process (`WITHOUT_EFFECT`) are noted in the log. Parsing collects every mistake before it reports.
"""

import ast
import dataclasses
import difflib
import inspect
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["UNSUPPORTED", "WITHOUT_EFFECT", "FlagError", "Flags", "parse_flags", "usage"]

_THREADS = 4 * (os.cpu_count() or 1)


class FlagError(Exception):
    """The command line is wrong. `problems` lists every mistake, one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, kw_only=True)
class Flags:
    """The flags of `tensorflow_model_server`; the docstring under each is its line in `--help`."""

    port: int = 8500
    """TCP port for gRPC, on all interfaces. 0: no TCP port, then --grpc_socket_path is needed."""
    grpc_socket_path: str = ""
    """Path of a UNIX socket to serve gRPC on as well."""
    rest_api_port: int = 0
    """TCP port for HTTP/REST, different from --port. 0: no REST."""
    rest_api_num_threads: int = _THREADS
    """Threads that convert large REST bodies."""
    rest_api_timeout_in_ms: int = 30_000
    """Bound of one REST call, in milliseconds."""
    rest_api_enable_cors_support: bool = False
    """Send CORS headers."""
    enable_batching: bool | None = None
    """true: batch as --batching_parameters_file says. false: never. Unset: the adaptive micro-batcher."""
    batching_parameters_file: str = ""
    """Text-proto BatchingParameters; needs --enable_batching."""
    enable_per_model_batching_parameters: bool = False
    """Take batching parameters from each version's batching_params.pbtxt; needs --enable_batching."""
    allow_version_labels_for_unavailable_models: bool = False
    """Let an unused label name a version that is not available yet."""
    model_config_file: str = ""
    """Text-proto ModelServerConfig; --model_name and --model_base_path are then ignored."""
    model_config_file_poll_wait_seconds: int = 0
    """Seconds between reads of --model_config_file. 0: read once."""
    model_name: str = "default"
    """Name of the one model of --model_base_path."""
    model_base_path: str = ""
    """Folder with one numbered folder per version."""
    num_load_threads: int = 0
    """Versions loaded at once after the start. 0: one at a time."""
    num_unload_threads: int = 0
    """Accepted; unloading waits for the calls of one version only and blocks nothing."""
    max_num_load_retries: int = 5
    """Attempts after the first failed load of a version."""
    load_retry_interval_micros: int = 60_000_000
    """Microseconds between attempts; a change in the version's folder ends the wait. Negative: no wait."""
    file_system_poll_wait_seconds: int = 1
    """Seconds between looks for new versions. 0: look once. Negative: never look."""
    flush_filesystem_caches: bool = True
    """Accepted; the page cache is left to the operating system."""
    tensorflow_session_parallelism: int = 0
    """Threads for both pools below. 0: TensorFlow decides."""
    tensorflow_intra_op_parallelism: int = 0
    """Threads inside one op. 0: TensorFlow decides."""
    tensorflow_inter_op_parallelism: int = 0
    """Ops that run at once. 0: TensorFlow decides."""
    tensorflow_session_config_file: str = ""
    """Text-proto tensorflow.ConfigProto for the sessions."""
    use_alts_credentials: bool = False
    """Left out: Google's ALTS."""
    ssl_config_file: str = ""
    """Text-proto SSLConfig with PEM contents: gRPC then speaks TLS."""
    platform_config_file: str = ""
    """Left out: platforms other than tensorflow."""
    per_process_gpu_memory_fraction: float = 0.0
    """Share of the GPU's memory this process takes, 0.0 to 1.0. 0.0: TensorFlow decides."""
    saved_model_tags: str = "serve"
    """Comma-separated tags of the meta graph to load."""
    grpc_channel_arguments: str = ""
    """Comma-separated key=value pairs for the gRPC server, for example grpc.max_connection_age_ms=2000."""
    grpc_max_threads: int = _THREADS
    """Accepted; one thread serves all connections."""
    enable_model_warmup: bool = True
    """Replay assets.extra/tf_serving_warmup_requests before a version serves."""
    num_request_iterations_for_warmup: int = 0
    """Times each warm-up request is replayed. 0: once."""
    monitoring_config_file: str = ""
    """Text-proto MonitoringConfig: Prometheus metrics on --rest_api_port."""
    remove_unused_fields_from_bundle_metagraph: bool = True
    """Accepted; only the signatures are kept of a meta graph."""
    prefer_tflite_model: bool = False
    """Left out: TensorFlow Lite models."""
    num_tflite_pools: int = 1
    """Accepted with TensorFlow Lite left out."""
    num_tflite_interpreters_per_pool: int = 1
    """Accepted with TensorFlow Lite left out."""
    enable_signature_method_name_check: bool = False
    """Insist that a signature's method_name fits the call."""
    xla_cpu_compilation_enabled: bool = False
    """Accepted; TensorFlow's own XLA settings (TF_XLA_FLAGS) hold."""
    xla_gpu_compilation_enabled: bool = False
    """Accepted; TensorFlow's own XLA settings (TF_XLA_FLAGS) hold."""
    enable_profiler: bool = True
    """Accepted; there is no profiler service here."""
    thread_pool_factory_config_file: str = ""
    """Left out: thread pool factories."""
    mixed_precision: str = ""
    """Left out: rewriting a model to bfloat16."""
    skip_initialize_tpu: bool = False
    """Accepted; there is no TPU start-up here."""
    enable_grpc_healthcheck_service: bool = False
    """Serve grpc.health.v1 for "", "ModelService" and "PredictionService"."""
    enable_serialization_as_tensor_content: bool = False
    """Answer Predict with tensor_content instead of the typed *_val fields."""
    version: bool = False
    """Print the versions and leave."""
    help: bool = False
    """Print this list and leave."""


UNSUPPORTED = (
    "use_alts_credentials",
    "platform_config_file",
    "prefer_tflite_model",
    "thread_pool_factory_config_file",
    "mixed_precision",
)
WITHOUT_EFFECT = (
    "num_unload_threads",
    "grpc_max_threads",
    "num_tflite_pools",
    "num_tflite_interpreters_per_pool",
    "xla_cpu_compilation_enabled",
    "xla_gpu_compilation_enabled",
    "skip_initialize_tpu",
)

_FIELDS = {field.name: field for field in dataclasses.fields(Flags)}
_BOOLEAN_TYPES = (bool, bool | None)
_BOOLEANS = {"": True, "true": True, "1": True, "false": False, "0": False}


def parse_flags(arguments: Sequence[str]) -> Flags:
    """Reads a command line without the program's name.

    `--name=value`, `--name value`, and for booleans also the bare `--name`, as TensorFlow's own parser takes them.

    Raises:
        FlagError: Any flag is unknown, misspelt, or has a value of the wrong kind; all of them are listed.
    """
    values: dict[str, object] = {}
    problems: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, separator, text = argument.removeprefix("--").partition("=")
        field = _FIELDS.get(name) if argument.startswith("--") else None
        if field is None:
            problems.append(_unknown(argument, name))
            continue
        if not separator and field.type not in _BOOLEAN_TYPES:
            if not rest or rest[0].startswith("--"):
                problems.append(f"--{name}: a value is missing, write --{name}=VALUE")
                continue
            text = rest.pop(0)
        try:
            values[name] = _convert(field.type, text)
        except (KeyError, ValueError):
            wanted = "a whole number" if field.type is int else "a number" if field.type is float else "true or false"
            problems.append(f"--{name}: {text!r} is not {wanted}")
    flags = Flags(**values)  # type: ignore[arg-type]  # each value was converted by its field's type
    if not (flags.help or flags.version):
        problems += _contradictions(flags)
    if problems:
        raise FlagError(problems)
    return flags


def usage(program: str) -> str:
    """The list of flags for `--help`."""
    lines = [f"usage: {program} --model_base_path=PATH [flags]", "Flags:"]
    documented = _docstrings()
    for name, field in _FIELDS.items():
        default = (
            "unset" if field.default is None else str(field.default).lower() if field.type is bool else field.default
        )
        lines.append(f"  --{name}={default!s}\n        {documented[name]}")
    return "\n".join(lines) + "\n"


def _convert(kind: object, text: str) -> object:
    if kind in _BOOLEAN_TYPES:
        return _BOOLEANS[text.lower()]
    if kind is int:
        return int(text)
    return float(text) if kind is float else text


def _unknown(argument: str, name: str) -> str:
    close = difflib.get_close_matches(name, _FIELDS, n=1)
    hint = f"; did you mean --{close[0]}?" if close else "; --help lists the flags"
    return f"unknown argument: {argument}{hint}"


def _contradictions(flags: Flags) -> list[str]:
    problems = [f"--{name}: this server leaves it out" for name in UNSUPPORTED if getattr(flags, name)]
    if not flags.port and not flags.grpc_socket_path:
        problems.append("--port=0 needs --grpc_socket_path: at least one of the two must be set")
    problems += [
        f"--{name}: {value} is not a port, use 0 to 65535"
        for name, value in (("port", flags.port), ("rest_api_port", flags.rest_api_port))
        if not 0 <= value <= 65535
    ]
    if flags.rest_api_port and flags.rest_api_port == flags.port:
        problems.append("--rest_api_port: must differ from --port")
    if not flags.model_base_path and not flags.model_config_file:
        problems.append("--model_base_path or --model_config_file is needed")
    if flags.batching_parameters_file and not flags.enable_batching:
        problems.append("--batching_parameters_file is set without --enable_batching")
    intra, inter = flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism
    if flags.tensorflow_session_parallelism > 0 and intra > 0 and inter > 0:
        problems.append(
            "--tensorflow_session_parallelism: set it, or --tensorflow_intra_op_parallelism and "
            "--tensorflow_inter_op_parallelism, not all three"
        )
    if flags.model_config_file_poll_wait_seconds < 0:
        problems.append("--model_config_file_poll_wait_seconds: must be 0 or more")
    for pair in filter(None, flags.grpc_channel_arguments.split(",")):
        if "=" not in pair:
            problems.append(f"--grpc_channel_arguments: {pair!r} is not key=value")
    return problems


def _docstrings() -> dict[str, str]:
    """The docstring under each field, read from this file's source: help and code cannot drift apart."""
    body = ast.parse(inspect.getsource(Flags)).body[0]
    found: dict[str, str] = {}
    statements = getattr(body, "body", [])
    for field, text in itertools.pairwise(statements):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            value = getattr(text.value, "value", None)
            found[field.target.id] = value if isinstance(value, str) else ""
    return found
