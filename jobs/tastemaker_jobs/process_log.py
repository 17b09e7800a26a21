"""The log as JSON: what a person at the terminal would read as notes, progress and errors, an object on each line.

Without TASTEMAKER_LOG_FORMAT=json there is no log: `console` writes for people. docs/logging.md has the fields.
"""

import logging
import sys
import threading
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from tastemaker_jobs.environment import log_format, log_level
from tastemaker_jobs.errors import LogSettingError

__all__ = ["set_up_log", "tell_error"]

_FORMATS = ("text", "json")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_log = logging.getLogger("tastemaker_jobs")


def set_up_log() -> None:
    """Where JSON is asked for, sends the process's log to stderr, Python's own warnings and tracebacks included.

    Libraries are heard from WARNING on: at INFO, Ray and TensorFlow would drown what the jobs say.

    Raises:
        LogSettingError: A variable of the environment has a bad value.
    """
    for name, value, known in (
        ("TASTEMAKER_LOG_FORMAT", log_format(), _FORMATS),
        ("TASTEMAKER_LOG_LEVEL", log_level(), _LEVELS),
    ):
        if value not in known:
            raise LogSettingError(f"{name} is {value!r}. Set it to one of {', '.join(known)}.")
    if log_format() != "json":
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    _log.setLevel(log_level())
    logging.captureWarnings(True)
    sys.excepthook = lambda *raised: _log.critical("the process ends by an exception", exc_info=raised)
    threading.excepthook = lambda raised: _log_lost("a thread ended by an exception", raised)
    sys.unraisablehook = lambda raised: _log_lost("an exception could not be raised", raised)


def tell_error(text: str, *, prefix: str = "error: ") -> None:
    """Says on stderr why a command ends: a line for people behind `prefix`, or as the rest of the log."""
    if log_format() == "json":
        _log.error("%s", text)
    else:
        sys.stderr.write(f"{prefix}{text}\n")


def _log_lost(message: str, raised: Any) -> None:
    _log.error(message, exc_info=(raised.exc_type, raised.exc_value, raised.exc_traceback))


class _JsonLines(JsonFormatter):
    def __init__(self) -> None:
        super().__init__(
            ("levelname", "name", "message"),
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception", "stack_info": "stack"},
            timestamp="time",
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return {"time": log_data.pop("time"), **log_data}
