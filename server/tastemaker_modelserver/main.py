"""The command `tastemaker-modelserver`: flags, log, and one line on stderr when it cannot start."""

import logging
import os
import sys
from importlib import metadata

from tastemaker_modelserver.errors import ServingError
from tastemaker_modelserver.flags import FlagError, parse_flags, usage
from tastemaker_modelserver.model_config import models_of
from tastemaker_modelserver.ports import check_ports
from tastemaker_modelserver.process_log import LogError, LogSettings, read_log_settings, set_up_log

__all__ = ["main"]

_PROGRAM = "tastemaker-modelserver"

_log = logging.getLogger(__name__)


def main() -> None:
    """Runs the model server. The exit status: 0 after a clean stop, 1 when it could not start, 2 for a bad flag."""
    sys.exit(_main(sys.argv[1:]))


def _main(arguments: list[str]) -> int:
    log = LogSettings()
    try:
        log = read_log_settings(os.environ)
        set_up_log(log)
        flags = parse_flags(arguments)
    except (FlagError, LogError) as error:
        for problem in error.problems:
            _tell(problem, log)
        return 2
    if flags.help:
        print(usage(_PROGRAM), end="")
        return 0
    if flags.version:
        print(f"TensorFlow ModelServer: {_PROGRAM} {metadata.version('tastemaker')}")
        print(f"TensorFlow Library: {metadata.version('tensorflow')}")
        return 0
    # TensorFlow greets with its build and the GPU it does not find; its errors still come through.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        check_ports(flags)
        models = models_of(flags)
        from tastemaker_modelserver.server import run  # TensorFlow: only once everything else is right

        run(flags, models, slow_call_milliseconds=log.slow_call_milliseconds)
    except ServingError as error:
        _tell(f"Failed to start server. Error: {error}", log)
        return 1
    return 0


def _tell(problem: str, log: LogSettings) -> None:
    """Says why the process ends: a plain line for people, or as the rest of the log."""
    if log.format == "json":
        _log.error("%s", problem)
    else:
        print(f"{_PROGRAM}: {problem}", file=sys.stderr)
