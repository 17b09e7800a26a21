"""How the process writes its log to stderr: lines for people, or a JSON object each. docs/logging.md has the fields.

Set by variables of the environment and not by flags: the flags are TensorFlow Serving's, and a command line that moves
between the two servers must not name what one of them does not know.
"""

import logging
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pythonjsonlogger.json import JsonFormatter

__all__ = ["LogError", "LogSettings", "read_log_settings", "set_up_log"]

_FORMAT, _LEVEL, _SLOW = "TASTEMAKER_LOG_FORMAT", "TASTEMAKER_LOG_LEVEL", "TASTEMAKER_LOG_SLOW_CALL_MILLISECONDS"
_FORMATS = ("text", "json")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_log = logging.getLogger("tastemaker_modelserver")


class LogError(Exception):
    """A variable has a bad value. `problems` lists every one, a line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """What the environment says about the log."""

    format: str = "text"
    """TASTEMAKER_LOG_FORMAT: `text` or `json`."""
    level: str = "INFO"
    """TASTEMAKER_LOG_LEVEL: the lowest that is written; DEBUG has a line for every call."""
    slow_call_milliseconds: int = 500
    """TASTEMAKER_LOG_SLOW_CALL_MILLISECONDS: a call that takes longer has a line, though it went well."""


def read_log_settings(environment: Mapping[str, str]) -> LogSettings:
    """Reads the variables; one that is missing or empty has its default.

    Raises:
        LogError: At least one has a bad value.
    """
    given = {name: environment[name] for name in (_FORMAT, _LEVEL, _SLOW) if environment.get(name)}
    problems = [
        f"{name}: {given[name]!r} is not one of {', '.join(known)}"
        for name, known in ((_FORMAT, _FORMATS), (_LEVEL, _LEVELS))
        if name in given and given[name] not in known
    ]
    slow = given.get(_SLOW, "500")
    if not slow.isdecimal() or int(slow) < 1:
        problems.append(f"{_SLOW}: {slow!r} is not a whole number of milliseconds above 0")
    if problems:
        raise LogError(problems)
    return LogSettings(
        format=given.get(_FORMAT, "text"), level=given.get(_LEVEL, "INFO"), slow_call_milliseconds=int(slow)
    )


def set_up_log(settings: LogSettings) -> None:
    """Sends the process's log to stderr; as JSON also what Python itself would write there, warnings and tracebacks."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if settings.format == "json" else _TextLines())
    logging.basicConfig(level=settings.level, handlers=[handler])
    if settings.format == "json":
        logging.captureWarnings(True)
        sys.excepthook = lambda *raised: _log.critical("the process ends by an exception", exc_info=raised)
        threading.excepthook = lambda raised: _log_lost("a thread ended by an exception", raised)
        sys.unraisablehook = lambda raised: _log_lost("an exception could not be raised", raised)


def _log_lost(message: str, raised: Any) -> None:
    _log.error(message, exc_info=(raised.exc_type, raised.exc_value, raised.exc_traceback))


class _TextLines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname).1s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        request_id = getattr(record, "request_id", None)
        line = super().formatMessage(record)
        return f"{line} [request {request_id}]" if request_id else line


class _JsonLines(JsonFormatter):
    def __init__(self) -> None:
        super().__init__(
            ("levelname", "name", "message"),
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception", "stack_info": "stack"},
            timestamp="time",
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return {"time": log_data.pop("time"), **log_data}
