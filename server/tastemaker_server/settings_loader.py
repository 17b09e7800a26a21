"""Reads the settings from a TOML file and from the environment: the one module of the front that does.

A variable `TASTEMAKER_FRONT_SECTION__KEY` overrides `[section] key` of the file, for example
`TASTEMAKER_FRONT_SERVER__ADDRESS=0.0.0.0:50051` or `TASTEMAKER_FRONT_SURFACES__HOME__MODEL=rnn`; a list is written as
in TOML. Any other variable with that prefix is refused, as is an unknown key of the file: a misspelt setting must not
be silently ignored. (That is why this is not pydantic-settings, which passes over variables that it does not know.)
"""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tastemaker_server.errors import SettingsError
from tastemaker_server.settings import LoggingSettings, Settings, SurfaceSettings
from tastemaker_server.store_urls import mask_passwords

__all__ = ["ENVIRONMENT_PREFIX", "load_logging_settings", "load_settings"]

ENVIRONMENT_PREFIX = "TASTEMAKER_FRONT_"


def load_settings(config_file: Path | None, environment: Mapping[str, str]) -> Settings:
    """Reads and checks all settings.

    Args:
        config_file: A TOML file, or None for the defaults.
        environment: The process's environment; overrides the file.

    Raises:
        SettingsError: Naming every bad setting, where it stands and how to mend it.
    """
    values = _read_file(config_file) if config_file is not None else {}
    origins: dict[tuple[str, ...], str] = {}
    problems: list[str] = []
    for name, text in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            path = tuple(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))
            origins[path] = name
            problems += _override(values, path, name, text)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += [_describe(dict(detail), origins, config_file) for detail in error.errors()]
    if problems:
        raise SettingsError(problems)
    return settings


def load_logging_settings(config_file: Path | None, environment: Mapping[str, str]) -> LoggingSettings:
    """Reads `[logging]` alone: what is wrong with the other settings has to be said in the form that it asks for.

    Args:
        config_file: As `load_settings` takes it.
        environment: As `load_settings` takes it.

    Returns:
        The defaults where the section itself is wrong; `load_settings` then says how.
    """
    try:
        values = _read_file(config_file) if config_file is not None else {}
    except SettingsError:
        values = {}
    prefix = f"{ENVIRONMENT_PREFIX}LOGGING__"
    for name, text in environment.items():
        if name.startswith(prefix):
            _override(values, ("logging", name.removeprefix(prefix).lower()), name, text)
    try:
        return LoggingSettings.model_validate(values.get("logging", {}))
    except ValidationError:
        return LoggingSettings()


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror}; name a file that exists"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path}: not TOML: {error}"]) from error


def _override(values: dict[str, Any], path: tuple[str, ...], name: str, text: str) -> list[str]:
    """Sets values[path] from a variable; returns the problems."""
    value: Any = text
    if text.strip().startswith("[") and text.strip().endswith("]"):
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError as error:
            return [f"{name}: not a TOML list: {error}"]
    section = values
    for key in path[:-1]:
        section = section.setdefault(key, {})
        if not isinstance(section, dict):
            return [f"{name}: {key!r} is a value in the file, not a section"]
    section[path[-1]] = value
    return []


def _describe(detail: dict[str, Any], origins: Mapping[tuple[str, ...], str], config_file: Path | None) -> str:
    path = tuple(str(part) for part in detail["loc"] if part != "[key]")
    dotted = ".".join(path)
    origin = next((name for at, name in origins.items() if at == path[: len(at)]), None)
    where = origin or (f"{config_file}" if config_file is not None else "defaults")
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(path[-1], _keys_at(path[:-1]), n=1)
        hint = f"did you mean {close[0]!r}?" if close else "known here: " + ", ".join(_keys_at(path[:-1]))
        return f"{where}: {dotted}: unknown setting; {hint}"
    message = detail["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(detail["input"], dict) else f" (found {mask_passwords(repr(detail['input']))})"
    return f"{where}: {dotted}: {message}{shown}"


def _keys_at(path: tuple[str, ...]) -> list[str]:
    model: type[BaseModel] = Settings
    for key in path:
        if model is Settings and key == "surfaces":
            return sorted(SurfaceSettings.model_fields)
        annotation = model.model_fields[key].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return sorted(model.model_fields)
