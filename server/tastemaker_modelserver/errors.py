"""The failures a caller can see, each with its gRPC status; what TensorFlow raises is turned into one of them here.

ServingError
├── CancelledCallError          CANCELLED
├── UnknownError                UNKNOWN
├── InvalidArgumentError        INVALID_ARGUMENT
├── DeadlineError               DEADLINE_EXCEEDED
├── NotFoundError               NOT_FOUND
├── ExhaustedError              RESOURCE_EXHAUSTED
├── FailedPreconditionError     FAILED_PRECONDITION
├── UnimplementedError          UNIMPLEMENTED
├── InternalError               INTERNAL
├── UnavailableError            UNAVAILABLE
└── DataLossError               DATA_LOSS
"""

import grpc

__all__ = [
    "CancelledCallError",
    "DataLossError",
    "DeadlineError",
    "ExhaustedError",
    "FailedPreconditionError",
    "InternalError",
    "InvalidArgumentError",
    "NotFoundError",
    "ServingError",
    "UnavailableError",
    "UnimplementedError",
    "UnknownError",
    "as_serving_error",
    "code_number",
    "error_of",
]


class ServingError(Exception):
    """A failure with a gRPC status. `message` is what the caller reads."""

    code = grpc.StatusCode.UNKNOWN

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class CancelledCallError(ServingError):
    """The caller went away, or the version it waited for is no longer wanted."""

    code = grpc.StatusCode.CANCELLED


class UnknownError(ServingError):
    """A failure that nothing here can name."""

    code = grpc.StatusCode.UNKNOWN


class InvalidArgumentError(ServingError):
    """The request can never work as sent."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class DeadlineError(ServingError):
    """The caller's deadline passed before the run ended."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class NotFoundError(ServingError):
    """No such model or version serves now."""

    code = grpc.StatusCode.NOT_FOUND


class ExhaustedError(ServingError):
    """Memory or another resource ran out during the run."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class FailedPreconditionError(ServingError):
    """The request fits the API but not the state of the server or the model."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class UnimplementedError(ServingError):
    """TensorFlow Serving has no such feature, or this server leaves it out."""

    code = grpc.StatusCode.UNIMPLEMENTED


class InternalError(ServingError):
    """A promise inside the server or the model was broken."""

    code = grpc.StatusCode.INTERNAL


class UnavailableError(ServingError):
    """The server cannot take the call now; a retry may succeed."""

    code = grpc.StatusCode.UNAVAILABLE


class DataLossError(ServingError):
    """A file is damaged."""

    code = grpc.StatusCode.DATA_LOSS


_BY_NUMBER: dict[int, type[ServingError]] = {kind.code.value[0]: kind for kind in ServingError.__subclasses__()}


def code_number(code: grpc.StatusCode) -> int:
    """The number of a status code, which TensorFlow's `error_code` shares."""
    number: int = code.value[0]
    return number


def error_of(number: int, message: str) -> ServingError:
    """The error for a status of TensorFlow's; not for OK."""
    return _BY_NUMBER.get(number, UnknownError)(message)


def as_serving_error(error: BaseException) -> ServingError:
    """What a caller is told about any exception.

    TensorFlow's own errors carry the numbers of gRPC's codes and keep them. A file error while loading keeps the
    distinction between a missing file and everything else; the rest is UNKNOWN with the exception's text.
    """
    if isinstance(error, ServingError):
        return error
    number = getattr(error, "error_code", None)
    if isinstance(number, int):  # tf.errors.OpError, without importing TensorFlow here
        return error_of(number, str(getattr(error, "message", error)))
    if isinstance(error, FileNotFoundError):
        return NotFoundError(str(error))
    if isinstance(error, TimeoutError):
        return DeadlineError(str(error) or "the deadline passed")
    return UnknownError(f"{type(error).__name__}: {error}")
