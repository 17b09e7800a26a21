"""Turns what code raises into gRPC statuses with google.rpc details; the only place that does.

Details travel in the trailing metadata, which gRPC bounds at 8 KiB by default: the list of bad fields is cut to fit.
"""

import logging
import secrets
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from tastemaker.v1 import error_reason_pb2
from tastemaker_server.call import REQUEST_ID_KEY, current_call, metadata_value
from tastemaker_server.errors import FrontError

__all__ = ["ERROR_DOMAIN", "abort_with"]

ERROR_DOMAIN = "tastemaker"
_MAX_VIOLATION_BYTES = 4096
_MAX_MESSAGE_CHARACTERS = 1024
_PREFIX = "ERROR_REASON_"

_log = logging.getLogger(__name__)


async def abort_with(error: Exception, context: Any, method: str) -> None:
    """Ends a call with the status that an exception of its handler stands for.

    Raises:
        AbortError: It is ended. Where `error` is one itself, nothing was left to do, and this returns.
    """
    found = current_call()
    if isinstance(error, grpc.aio.AbortError):
        return
    if isinstance(error, FrontError):
        found.reason = _reason(error.reason)
        if error.retry_delay_seconds is not None:  # it is about us; the others may quote what the caller sent
            found.detail = str(error)
        await _abort(context, error.code, str(error), _details(error))
    incident_id = secrets.token_hex(4)
    found.reason = _reason(error_reason_pb2.ERROR_REASON_INTERNAL)
    _log.error("%s failed, incident %s", method, incident_id, exc_info=error)
    info = _error_info(error_reason_pb2.ERROR_REASON_INTERNAL, {"incident_id": incident_id})
    await _abort(context, grpc.StatusCode.INTERNAL, f"a defect of ours; incident {incident_id}", [info])


async def _abort(context: Any, code: grpc.StatusCode, message: str, details: list[Any]) -> NoReturn:
    message = message[:_MAX_MESSAGE_CHARACTERS]
    status = status_pb2.Status(code=code_pb2.Code.Value(code.name), message=message)
    request_id = current_call().request_id
    for detail in (*details, error_details_pb2.RequestInfo(request_id=request_id)):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    trailers = (
        ("grpc-status-details-bin", status.SerializeToString()),
        (REQUEST_ID_KEY, metadata_value(request_id)),
    )
    await context.abort(code, message, trailing_metadata=trailers)
    raise AssertionError("abort raises")


def _details(error: FrontError) -> list[Any]:
    details: list[Any] = [_error_info(error.reason, dict(error.metadata))]
    if error.violations:
        bad_request = error_details_pb2.BadRequest()
        for violation in error.violations:
            added = bad_request.field_violations.add(field=violation.field, description=violation.description)
            if bad_request.ByteSize() > _MAX_VIOLATION_BYTES and len(bad_request.field_violations) > 1:
                bad_request.field_violations.remove(added)
                break
        details.append(bad_request)
    if error.retry_delay_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(error.retry_delay_seconds * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return details


def _error_info(reason: error_reason_pb2.ErrorReason, metadata: dict[str, str]) -> Any:
    return error_details_pb2.ErrorInfo(reason=_reason(reason), domain=ERROR_DOMAIN, metadata=metadata)


def _reason(reason: error_reason_pb2.ErrorReason) -> str:
    return error_reason_pb2.ErrorReason.Name(reason).removeprefix(_PREFIX)
