"""GetModelMetadata and GetModelStatus: what is known about a model, without running it."""

from typing import Any

from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from tastemaker_modelserver.errors import InvalidArgumentError, NotFoundError, code_number
from tastemaker_modelserver.lookup import ModelLookup
from tastemaker_modelserver.states import VersionStates

__all__ = ["model_metadata", "model_status"]

_SIGNATURES = "signature_def"


def model_metadata(request: Any, lookup: ModelLookup) -> Any:
    """Answers a GetModelMetadataRequest.

    Raises:
        ServingError: No such model, or a metadata field other than `signature_def`.
    """
    if not request.HasField("model_spec"):
        raise InvalidArgumentError("Missing ModelSpec")
    if not request.metadata_field:
        raise InvalidArgumentError("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != _SIGNATURES:
            raise InvalidArgumentError(f"Metadata field {field} is not supported")
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    signatures = get_model_metadata_pb2.SignatureDefMap()
    lease = lookup.acquire(request.model_spec)
    try:
        for name, signature in lease.servable.signature_defs.items():
            signatures.signature_def[name].CopyFrom(signature)
    finally:
        lease.release()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = lease.version
    response.metadata[_SIGNATURES].Pack(signatures)
    return response


def model_status(request: Any, states: VersionStates) -> Any:
    """Answers a GetModelStatusRequest: one version, or all of them, highest first.

    Raises:
        ServingError: The model or the version was never seen.
    """
    if not request.HasField("model_spec"):
        raise InvalidArgumentError("Missing ModelSpec")
    name = request.model_spec.name
    known = states.of(name)
    if request.model_spec.HasField("version"):
        version = request.model_spec.version.value
        if version not in known:
            raise NotFoundError(f"Could not find version {version} of model {name}")
        known = {version: known[version]}
    if not known:
        raise NotFoundError(f"Could not find any versions of model {name}")
    response = get_model_status_pb2.GetModelStatusResponse()
    for version, found in known.items():
        status = response.model_version_status.add(version=version, state=found.state.value)
        status.status.error_code = code_number(found.error.code) if found.error else 0
        status.status.error_message = found.error.message if found.error else ""
    return response
