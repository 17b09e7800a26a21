"""REST bodies of Classify and Regress: `examples` and an optional `context`, each an object of features."""

from typing import Any

from tastemaker_modelserver.errors import InvalidArgumentError
from tastemaker_modelserver.rest_json import (
    decode_base64,
    fill_signature_name,
    is_base64,
    json_type,
    malformed,
    parse_object,
)

__all__ = ["fill_examples_request"]


def fill_examples_request(body: bytes, request: Any) -> None:
    """Fills a ClassificationRequest or a RegressionRequest, whose model_spec names the model already.

    Raises:
        ServingError: The body does not fit the format.
    """
    document = parse_object(body)
    fill_signature_name(document, request)
    target = request.input.example_list
    if "context" in document:
        target = request.input.example_list_with_context
        _fill_example(document["context"], target.context)
    if "examples" not in document:
        raise malformed(document, "When method is classify, key 'examples' is expected and was not found")
    if not isinstance(document["examples"], list):
        raise malformed(document, "Expecting 'examples' value to be an list/array")
    if not document["examples"]:
        raise malformed(document, "'examples' value is an empty array")
    for example in document["examples"]:
        _fill_example(example, target.examples.add())


def _fill_example(value: Any, example: Any) -> None:
    if not isinstance(value, dict):
        raise InvalidArgumentError(f"Example must be JSON object but got JSON {json_type(value)}")
    for name, content in value.items():
        feature = example.features.feature[name]
        for item in content if isinstance(content, list) else [content]:
            _add_to_feature(item, name, feature)


def _add_to_feature(value: Any, name: str, feature: Any) -> None:
    kind: str
    converted: int | float | bytes
    if isinstance(value, bool) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        kind, converted = "int64_list", int(value)
    elif isinstance(value, float):
        kind, converted = "float_list", value
    elif isinstance(value, str):
        kind, converted = "bytes_list", value.encode()
    elif is_base64(value):
        kind, converted = "bytes_list", decode_base64(value)
    elif isinstance(value, int):
        raise InvalidArgumentError(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    else:
        raise InvalidArgumentError(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")
    current = feature.WhichOneof("kind")
    if current not in (None, kind):
        raise InvalidArgumentError(
            f"Unexpected element type in feature: {name} expecting type: {current.removesuffix('_list')}"
        )
    getattr(feature, kind).value.append(converted)
