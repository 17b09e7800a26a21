"""Predict: from a request to a job, from its arrays to a response."""

from typing import Any

from tensorflow_serving.apis import predict_pb2

from tastemaker_modelserver.errors import InternalError, InvalidArgumentError
from tastemaker_modelserver.jobs import Job
from tastemaker_modelserver.lookup import ModelLookup
from tastemaker_modelserver.manager import Lease
from tastemaker_modelserver.servable import Servable
from tastemaker_modelserver.signatures import Output, Signature
from tastemaker_modelserver.tensors import Array, encode_into

__all__ = ["Predictor"]

_METHODS = frozenset(f"tensorflow/serving/{name}" for name in ("predict", "classify", "regress"))


class Predictor:
    """Turns PredictRequests into jobs."""

    def __init__(self, *, lookup: ModelLookup, as_content: bool, check_method_name: bool) -> None:
        """Keeps the flags.

        Args:
            lookup: Finds the version.
            as_content: Answer in `tensor_content` instead of typed fields.
            check_method_name: Insist on one of TensorFlow Serving's three method names.
        """
        self._lookup = lookup
        self._as_content = as_content
        self._check_method_name = check_method_name

    def job(self, request: Any, *, deadline_s: float) -> Job:
        """Checks a PredictRequest.

        Raises:
            ServingError: The request cannot run as sent.
        """
        if not request.HasField("model_spec"):
            raise InvalidArgumentError("Missing ModelSpec")
        lease = self._lookup.acquire(request.model_spec)
        try:
            return self.job_on(lease, request, deadline_s=deadline_s)
        except BaseException:
            lease.release()
            raise

    def job_on(self, lease: Lease[Servable], request: Any, *, deadline_s: float) -> Job:
        """As `job`, on a version that the caller chose. The lease stays the caller's when this raises."""
        spec = request.model_spec
        signature = lease.servable.signature(spec.signature_name)
        self._check(signature)
        inputs = signature.arrange(request.inputs)
        outputs = signature.select(request.output_filter)

        def respond(arrays: list[Array]) -> Any:
            return self._response(spec.name, lease.version, signature, outputs, arrays)

        return Job(
            model=spec.name,
            lease=lease,
            signature=signature,
            inputs=inputs,
            outputs=outputs,
            finish=respond,
            deadline_s=deadline_s,
        )

    def _check(self, signature: Signature) -> None:
        if self._check_method_name and signature.method_name not in _METHODS:
            raise InternalError(
                f"Expected prediction signature method_name to be one of {{{', '.join(sorted(_METHODS))}}}. "
                f"Was: {signature.method_name}"
            )

    def _response(
        self, name: str, version: int, signature: Signature, outputs: tuple[Output, ...], arrays: list[Array]
    ) -> Any:
        response = predict_pb2.PredictResponse()
        spec = response.model_spec
        spec.name = name
        spec.signature_name = signature.name
        spec.version.value = version
        for output, array in zip(outputs, arrays, strict=True):
            encode_into(response.outputs[output.alias], array, as_content=self._as_content)
        return response
