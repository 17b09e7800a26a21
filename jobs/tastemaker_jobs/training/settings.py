"""A model's settings from what people write: a TOML file and `key=value`. Every bad one is named."""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tastemaker_jobs.errors import ConfigError

if TYPE_CHECKING:
    from tastemaker_jobs.models.recommender import ModelConfig, Recommender

__all__ = ["config_of", "read_settings"]


def read_settings(file: Path | None, assignments: Sequence[str]) -> dict[str, Any]:
    """Settings as they were given, not yet held against a model.

    Args:
        file: TOML, the fields of the model's config at its top level, as `config_toml` in a manifest has them.
        assignments: "key=value", each stronger than the file; the value as in TOML, quotes around text not needed. A
            dot in the key reaches into a table: "event_weights.purchase=5".

    Raises:
        ConfigError: The file cannot be read, or an assignment has no "=".
    """
    settings: dict[str, Any] = {}
    if file is not None:
        try:
            settings = tomllib.loads(file.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{file} cannot be read as TOML: {error}. Give lines such as `epochs = 10`.") from error
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {assignment!r} is not of the form key=value, such as epochs=10.")
        *tables, name = key.strip().split(".")
        place = settings
        for table in tables:
            place = place.setdefault(table, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {assignment!r}: {table} is not a table.")
        place[name] = _value(text.strip())
    return settings


def config_of(kind: "type[Recommender]", settings: Mapping[str, Any]) -> "ModelConfig":
    """A model's config, the settings in place of its defaults.

    Args:
        kind: The model.
        settings: By the names of the config's fields. `seed` is passed over: a manifest's `config_toml` has it.

    Raises:
        ConfigError: Lists settings that the model does not have, and values that it cannot take.
    """
    fields = {field.name: field for field in dataclasses.fields(kind.config_class)}
    defaults = kind.config_class()
    problems, values = [], {}
    for name, value in settings.items():
        if name == "seed":
            continue
        if name not in fields:
            problems.append(f"there is no setting {name!r}")
            continue
        expected = type(getattr(defaults, name))
        found = _converted(value, expected)
        if found is None:
            problems.append(f"{name} is {value!r}, which is not {_NAMES.get(expected, expected.__name__)}")
        else:
            values[name] = found
    preset = values.get("preset", "")
    if kind.config_class.presets and preset and preset not in kind.config_class.presets:
        problems.append(f"preset is {preset!r}, and there are {', '.join(sorted(kind.config_class.presets))}")
    if problems:
        raise ConfigError(
            f"{kind.name_in_registry}: {'; '.join(problems)}. Its settings are {', '.join(sorted(fields))}."
        )
    return dataclasses.replace(defaults, **{**kind.config_class.presets.get(preset, {}), **values})


_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    tuple: "a list",
    dict: "a table",
}


def _converted(value: Any, expected: type) -> Any:
    """The value as the type of the default; None if it is of another kind."""
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if expected is tuple and isinstance(value, list):
        return tuple(value)
    if expected is int and isinstance(value, bool):
        return None
    return value if isinstance(value, expected) else None


def _value(text: str) -> Any:
    """A TOML value; what is none, is a text.

    >>> _value("3"), _value("0.5"), _value("true"), _value("tanh"), _value("[1, 2]")
    (3, 0.5, True, 'tanh', [1, 2])
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
