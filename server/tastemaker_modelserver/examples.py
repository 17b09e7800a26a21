"""Classify, Regress and MultiInference: `tensorflow.Example`s in, classes or values out.

Each checks a signature, feeds the serialised examples to its one input, and reads its one or two outputs. They become
jobs like Predict's, so that they share runs in the same way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import classification_pb2, inference_pb2, model_pb2, regression_pb2

from tastemaker_modelserver.errors import InvalidArgumentError, UnimplementedError
from tastemaker_modelserver.example_results import CLASSES, SCORES, VALUES, fill_classes, fill_values
from tastemaker_modelserver.jobs import Job
from tastemaker_modelserver.lookup import ModelLookup
from tastemaker_modelserver.manager import Lease
from tastemaker_modelserver.metrics import Metrics
from tastemaker_modelserver.servable import DEFAULT_SIGNATURE, Servable
from tastemaker_modelserver.signatures import Output, Signature
from tastemaker_modelserver.tensors import Array

__all__ = ["ExampleTasks"]

_CLASSIFY = "tensorflow/serving/classify"
_REGRESS = "tensorflow/serving/regress"
_INPUTS = "inputs"


@dataclass(frozen=True)
class _Task:
    """One signature of a call, checked."""

    spec: Any
    method: str
    signature: Signature
    outputs: tuple[Output, ...]


class ExampleTasks:
    """Turns the three kinds of request into jobs."""

    def __init__(self, *, lookup: ModelLookup, metrics: Metrics, check_method_name: bool) -> None:
        self._lookup = lookup
        self._metrics = metrics
        self._check_method_name = check_method_name

    def classify(self, request: Any, *, deadline_s: float) -> Job:
        """Checks a ClassificationRequest.

        Raises:
            ServingError: It cannot run as sent.
        """
        return self._borrowed(request, self.classify_on, deadline_s=deadline_s)

    def classify_on(self, lease: Lease[Servable], request: Any, *, deadline_s: float) -> Job:
        """As `classify`, on a version that the caller chose."""
        task = self._task(lease.servable, request.model_spec, _CLASSIFY, "No signature was found with the name: ")

        def respond(arrays: list[Array]) -> Any:
            response = classification_pb2.ClassificationResponse()
            _describe(response.model_spec, task, lease.version)
            fill_classes(response.result, _by_alias(task, task.outputs, arrays), count)
            return response

        examples, count = _serialised(request.input)
        return self._job(lease, task.signature, task.outputs, examples, request.model_spec.name, respond, deadline_s)

    def regress(self, request: Any, *, deadline_s: float) -> Job:
        """Checks a RegressionRequest; raises as `classify`."""
        return self._borrowed(request, self.regress_on, deadline_s=deadline_s)

    def regress_on(self, lease: Lease[Servable], request: Any, *, deadline_s: float) -> Job:
        """As `regress`, on a version that the caller chose."""
        task = self._task(lease.servable, request.model_spec, _REGRESS, "No signature was found with the name: ")

        def respond(arrays: list[Array]) -> Any:
            response = regression_pb2.RegressionResponse()
            _describe(response.model_spec, task, lease.version)
            fill_values(response.result, _by_alias(task, task.outputs, arrays), count)
            return response

        examples, count = _serialised(request.input)
        return self._job(lease, task.signature, task.outputs, examples, request.model_spec.name, respond, deadline_s)

    def multi_inference(self, request: Any, *, deadline_s: float) -> Job:
        """Checks a MultiInferenceRequest: several signatures of one model, one run; raises as `classify`."""
        # Without a task there is no name, which is what the caller is told.
        spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        lease = self._lookup.acquire(spec)
        try:
            return self.multi_inference_on(lease, request, deadline_s=deadline_s)
        except BaseException:
            lease.release()
            raise

    def multi_inference_on(self, lease: Lease[Servable], request: Any, *, deadline_s: float) -> Job:
        """As `multi_inference`, on a version that the caller chose."""
        if not request.tasks:  # only a warm-up record can come this far; the message is the runtime's
            raise InvalidArgumentError("Must specify at least one target to fetch or execute.")
        name = request.tasks[0].model_spec.name
        tasks: list[_Task] = []
        for asked in request.tasks:
            if not asked.model_spec.name:
                raise InvalidArgumentError("Found ModelSpec with an empty model name.")
            if asked.model_spec.name != name:
                raise InvalidArgumentError("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
            signature_name = asked.model_spec.signature_name or DEFAULT_SIGNATURE
            if any(signature_name == other.signature.name for other in tasks):
                raise InvalidArgumentError(f"Duplicate evaluation of signature: {signature_name}")
            tasks.append(
                self._task(
                    lease.servable,
                    asked.model_spec,
                    asked.method_name,
                    "Requested signature not found in model graph: ",
                )
            )
        examples, count = _serialised(request.input)
        together = _together(tasks)

        def respond(arrays: list[Array]) -> Any:
            self._metrics.example_counts.observe(count, name)
            self._metrics.example_count_total.add(name, by=count)
            response = inference_pb2.MultiInferenceResponse()
            for task in tasks:
                result = response.results.add()
                found = _by_alias(task, together.outputs, arrays)
                if task.method == _CLASSIFY:
                    fill_classes(result.classification_result, found, count)
                else:
                    fill_values(result.regression_result, found, count)
                _describe(result.model_spec, task, lease.version)
            return response

        return self._job(lease, together, together.outputs, examples, name, respond, deadline_s)

    def _borrowed(self, request: Any, work: Callable[..., Job], *, deadline_s: float) -> Job:
        if not request.HasField("model_spec"):
            raise InvalidArgumentError("Missing ModelSpec")
        lease = self._lookup.acquire(request.model_spec)
        try:
            return work(lease, request, deadline_s=deadline_s)
        except BaseException:
            lease.release()
            raise

    def _task(self, servable: Servable, spec: Any, method: str, missing: str) -> _Task:
        name = spec.signature_name or DEFAULT_SIGNATURE
        signature = servable.signatures.get(name)
        if signature is None:
            raise InvalidArgumentError(missing + name)
        if method not in (_CLASSIFY, _REGRESS):
            raise UnimplementedError(f"Unsupported signature method_name: {method}")
        kind = "classification" if method == _CLASSIFY else "regression"
        if self._check_method_name and signature.method_name != method:
            raise InvalidArgumentError(
                f"Expected {kind} signature method_name to be {method}. Was: {signature.method_name}"
            )
        if len(signature.inputs) != 1:
            raise InvalidArgumentError(f"Expected one input Tensor, found {len(signature.inputs)}.")
        if signature.inputs[0].alias != _INPUTS:
            raise InvalidArgumentError(
                f"No {kind} inputs found in SignatureDef: expected {_INPUTS!r}, found {signature.inputs[0].alias!r}"
            )
        return _Task(spec, method, signature, _outputs(signature, method))

    @staticmethod
    def _job(
        lease: Lease[Servable],
        signature: Signature,
        outputs: tuple[Output, ...],
        examples: Any,
        name: str,
        respond: Callable[[list[Array]], Any],
        deadline_s: float,
    ) -> Job:
        return Job(
            model=name,
            lease=lease,
            signature=signature,
            inputs=[examples] * len(signature.inputs),
            outputs=outputs,
            finish=respond,
            deadline_s=deadline_s,
        )


def _outputs(signature: Signature, method: str) -> tuple[Output, ...]:
    named = {output.alias: output for output in signature.outputs}
    if method == _REGRESS:
        if len(named) != 1:
            raise InvalidArgumentError(f"Expected one output Tensor, found {len(named)}.")
        if VALUES not in named:
            raise InvalidArgumentError(f"No regression outputs found in SignatureDef: expected {VALUES!r}")
        return (named[VALUES],)
    if len(named) not in (1, 2):
        raise InvalidArgumentError(f"Expected one or two output Tensors, found {len(named)}")
    chosen = tuple(named[alias] for alias in (CLASSES, SCORES) if alias in named)
    if not chosen:
        raise InvalidArgumentError(
            f'Expected classification signature outputs to contain at least one of "{CLASSES}" or "{SCORES}". '
            f"Signature has: {', '.join(named)}"
        )
    return chosen


def _together(tasks: list[_Task]) -> Signature:
    """One signature with every input and output tensor of several; outputs are named by their tensors."""
    inputs = {task.signature.inputs[0].tensor_name: task.signature.inputs[0] for task in tasks}
    outputs = {
        output.tensor_name: Output(output.tensor_name, output.tensor_name, output.batched)
        for task in tasks
        for output in task.outputs
    }
    return Signature(
        name="+".join(f"{task.method}:{task.signature.name}" for task in tasks),
        method_name="",
        inputs=tuple(inputs.values()),
        outputs=tuple(outputs.values()),
    )


def _by_alias(task: _Task, fetched: tuple[Output, ...], arrays: list[Array]) -> dict[str, Array]:
    values = {output.tensor_name: array for output, array in zip(fetched, arrays, strict=True)}
    return {output.alias: values[output.tensor_name] for output in task.outputs}


def _serialised(sent: Any) -> tuple[Any, int]:
    """The examples of a `tensorflow.serving.Input` as a string TensorProto [N], and N."""
    kind = sent.WhichOneof("kind")
    prefix = b""
    if kind == "example_list_with_context":
        # Protos that are written one after another read as merged: the context's features, then the example's own.
        prefix = sent.example_list_with_context.context.SerializeToString()
    examples = getattr(sent, kind).examples if kind else []
    if not examples:
        raise InvalidArgumentError("Input is empty.")
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING)
    tensor.tensor_shape.dim.add().size = len(examples)
    tensor.string_val.extend([prefix + example.SerializeToString() for example in examples])
    return tensor, len(examples)


def _describe(spec: Any, task: _Task, version: int) -> None:
    spec.name = task.spec.name
    spec.signature_name = task.signature.name
    spec.version.value = version
