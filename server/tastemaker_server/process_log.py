"""How the process writes its log to stderr: lines for people, or a JSON object each.

Both carry the id of the call that they belong to, and neither the password of a URL. docs/logging.md has the fields.
"""

import logging
import sys
import threading
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from tastemaker_server.call import logged_request_id
from tastemaker_server.settings import LoggingSettings
from tastemaker_server.store_urls import mask_passwords

__all__ = ["set_up_log", "tell_error"]

_log = logging.getLogger("tastemaker_server")


def set_up_log(settings: LoggingSettings, *, level: str | None = None) -> None:
    """Sends the process's log to stderr; as JSON also what Python itself would write there, warnings and tracebacks.

    Args:
        settings: The form and the level.
        level: Of the command line, and then instead of the settings'.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if settings.format == "json" else _TextLines())
    logging.basicConfig(level=level or settings.level, handlers=[handler])
    if settings.format == "json":
        logging.captureWarnings(True)
        sys.excepthook = lambda *raised: _log.critical("the process ends by an exception", exc_info=raised)
        threading.excepthook = lambda raised: _log_lost("a thread ended by an exception", raised)
        sys.unraisablehook = lambda raised: _log_lost("an exception could not be raised", raised)


def tell_error(problem: str, settings: LoggingSettings) -> None:
    """Says on stderr why the process ends: a plain line for people, or as the rest of the log."""
    if settings.format == "json":
        _log.error("%s", problem)
    else:
        sys.stderr.write(f"error: {problem}\n")


class _TextLines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        request_id = logged_request_id()
        line = super().formatMessage(record)
        return f"{line} [request {request_id}]" if request_id else line

    def format(self, record: logging.LogRecord) -> str:
        return mask_passwords(super().format(record))


class _JsonLines(JsonFormatter):
    def __init__(self) -> None:
        super().__init__(
            ("levelname", "name", "message"),
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception", "stack_info": "stack"},
            timestamp="time",
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        fields = {"time": log_data.pop("time"), **log_data}
        request_id = logged_request_id()
        if request_id:
            fields["request_id"] = request_id
        return {name: mask_passwords(value) if isinstance(value, str) else value for name, value in fields.items()}


def _log_lost(message: str, raised: Any) -> None:
    _log.error(message, exc_info=(raised.exc_type, raised.exc_value, raised.exc_traceback))
