"""JSON as TensorFlow Serving reads it: parsing a body, `{"b64": …}` bytes, and how values are shown in messages."""

import base64
import binascii
import json
from typing import Any

from tastemaker_modelserver.errors import InvalidArgumentError

__all__ = [
    "decode_base64",
    "fill_signature_name",
    "is_base64",
    "is_object",
    "json_type",
    "malformed",
    "parse_object",
    "shown",
]

_SHOWN = 256


def parse_object(body: bytes) -> dict[str, Any]:
    """A body as a JSON object; what follows it is ignored, as TensorFlow Serving's parser does.

    Raises:
        InvalidArgumentError: It is no JSON object.
    """
    if not body.strip():
        raise InvalidArgumentError("JSON Parse error: The document is empty")
    try:
        document, _ = json.JSONDecoder().raw_decode(body.decode("utf-8").lstrip())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        place = error.pos if isinstance(error, json.JSONDecodeError) else error.start
        raise InvalidArgumentError(f"JSON Parse error: {error} at offset: {place}") from error
    except RecursionError as error:
        raise InvalidArgumentError("JSON Parse error: nested too deeply") from error
    if not isinstance(document, dict):
        raise malformed(document, "Is not object")
    return document


def fill_signature_name(document: dict[str, Any], request: Any) -> None:
    """Copies `signature_name`, where there is one, into the request's model_spec."""
    if "signature_name" in document:
        if not isinstance(document["signature_name"], str):
            raise malformed(document, "not formatted correctly. 'signature_name' key must be a string value.")
        request.model_spec.signature_name = document["signature_name"]


def is_base64(value: Any) -> bool:
    """Whether a value is `{"b64": "…"}`."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def is_object(value: Any) -> bool:
    """Whether a value is an object of named tensors, rather than bytes."""
    return isinstance(value, dict) and not is_base64(value)


def decode_base64(value: Any) -> bytes:
    """The bytes of `{"b64": "…"}`, with or without padding.

    Raises:
        InvalidArgumentError: It is something else.
    """
    if not is_base64(value):
        raise InvalidArgumentError(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    text = value["b64"]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgumentError("Unable to base64 decode") from error


def malformed(value: Any, text: str) -> InvalidArgumentError:
    """An error that shows the value it is about."""
    return InvalidArgumentError(f"JSON Value: {shown(value)} {text}")


def shown(value: Any) -> str:
    """A value as JSON, cut short."""
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def json_type(value: Any) -> str:
    """A value's JSON type, as TensorFlow Serving names it."""
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    kinds = {str: "String", list: "Array", dict: "Object"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), "Number")
