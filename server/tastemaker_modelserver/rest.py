"""The HTTP/REST server: TensorFlow Serving's paths, JSON and HTTP codes."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from aiohttp import web
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
    regression_pb2,
)

from tastemaker_modelserver.call_log import CallLog
from tastemaker_modelserver.errors import (
    DeadlineError,
    FailedPreconditionError,
    InvalidArgumentError,
    UnavailableError,
    as_serving_error,
)
from tastemaker_modelserver.examples import ExampleTasks
from tastemaker_modelserver.lookup import ModelLookup
from tastemaker_modelserver.metadata import model_metadata, model_status
from tastemaker_modelserver.metrics import Metrics
from tastemaker_modelserver.predict import Predictor
from tastemaker_modelserver.rest_examples import fill_examples_request
from tastemaker_modelserver.rest_paths import RestTarget, parse_path
from tastemaker_modelserver.rest_requests import fill_predict_request
from tastemaker_modelserver.rest_responses import (
    classification_json,
    error_json,
    metadata_json,
    predict_json,
    regression_json,
    status_json,
)
from tastemaker_modelserver.runner import Runner
from tastemaker_modelserver.servable import DEFAULT_SIGNATURE
from tastemaker_modelserver.signatures import Signature
from tastemaker_modelserver.states import VersionStates

__all__ = ["RestServer"]

_LARGE_BODY_BYTES = 65_536
_LARGEST_BODY_BYTES = 2**31 - 1
_ALL_INTERFACES = "0.0.0.0"  # noqa: S104  # where TensorFlow Serving listens
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
_HTTP_CODES = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
}


class RestServer:
    """Answers HTTP."""

    def __init__(
        self,
        *,
        predictor: Predictor,
        examples: ExampleTasks,
        lookup: ModelLookup,
        runner: Runner,
        states: VersionStates,
        metrics: Metrics,
        call_log: CallLog,
        timeout_s: float,
        threads: int,
        cors: bool,
        metrics_path: str,
    ) -> None:
        """Prepares; `start` opens the port.

        Args:
            predictor: Checks Predict.
            examples: Checks Classify and Regress.
            lookup: Finds versions.
            runner: Runs jobs.
            states: What GetModelStatus reads.
            metrics: Where calls are counted.
            call_log: Where those that fail or are slow have a line.
            timeout_s: Bound of one call.
            threads: Threads that convert large bodies.
            cors: Whether to send CORS headers.
            metrics_path: Path of the Prometheus page, or nothing.
        """
        self._predictor = predictor
        self._examples = examples
        self._lookup = lookup
        self._runner = runner
        self._states = states
        self._metrics = metrics
        self._call_log = call_log
        self._timeout_s = timeout_s
        self._cors = _CORS if cors else {}
        self._metrics_path = metrics_path
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="rest")
        self._site: web.AppRunner | None = None

    async def start(self, port: int) -> None:
        """Opens the port on all interfaces.

        Raises:
            UnavailableError: It is taken.
        """
        app = web.Application(client_max_size=_LARGEST_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._site = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await self._site.setup()
        try:
            await web.TCPSite(self._site, _ALL_INTERFACES, port, reuse_address=True).start()
        except OSError as error:
            raise UnavailableError(f"--rest_api_port={port}: cannot listen there, {error.strerror}") from error

    async def stop(self) -> None:
        """Closes the port and lets calls in flight finish."""
        if self._site is not None:
            await self._site.cleanup()
        self._threads.shutdown()

    async def _handle(self, request: web.Request) -> web.Response:
        started_s = time.monotonic()
        path = request.rel_url.raw_path
        if self._metrics_path and request.method == "GET" and path == self._metrics_path:
            return web.Response(text=self._metrics.page(), content_type="text/plain")
        if not path.lower().startswith("/v1/"):
            return web.Response(status=404)
        name, status, code, verb, message = "", "OK", 200, "", ""
        try:
            if request.method == "OPTIONS":
                text = self._preflight(request)
            else:
                target = parse_path(request.method, path)
                name, verb = target.model, target.verb
                text = await self._answer(target, request, started_s)
        except asyncio.CancelledError:
            status = grpc.StatusCode.CANCELLED.name
            self._metrics.request_count.add(name, status)
            raise
        except Exception as error:
            failure = as_serving_error(error)
            status, code = failure.code.name, _HTTP_CODES.get(failure.code, 500)
            message = failure.message
            text = error_json(message)
        else:
            if verb in ("", "metadata"):  # the others are counted where they run
                self._metrics.request_latency.observe((time.monotonic() - started_s) * 1e6, name, "", "REST")
        finally:
            if verb not in ("", "metadata"):
                self._call_log.finished(
                    f"REST {verb}",
                    model=name,
                    code=status,
                    started_s=started_s,
                    sent=request.headers.items,
                    message=message,
                )
        self._metrics.request_count.add(name, status)
        response = web.Response(status=code, text=text, content_type="application/json", headers=self._cors)
        response.enable_compression()
        return response

    def _preflight(self, request: web.Request) -> str:
        if not request.headers.get("Origin", "").startswith(("http://", "https://")):
            raise FailedPreconditionError("Origin header is missing in CORS preflight")
        return ""

    async def _answer(self, target: RestTarget, request: web.Request, started_s: float) -> str:
        if target.verb == "":
            look = get_model_status_pb2.GetModelStatusRequest()
            target.fill(look.model_spec)
            return status_json(model_status(look, self._states))
        if target.verb == "metadata":
            metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
            target.fill(metadata.model_spec)
            return metadata_json(model_metadata(metadata, self._lookup))
        body = await request.read()
        answer = self._predict if target.verb == "predict" else self._run_examples
        try:
            async with asyncio.timeout(self._timeout_s if self._timeout_s > 0 else None):
                return await answer(target, body, started_s)
        except TimeoutError:
            raise DeadlineError(f"The call took longer than --rest_api_timeout_in_ms, {self._timeout_s:g} s") from None

    async def _predict(self, target: RestTarget, body: bytes, started_s: float) -> str:
        request = predict_pb2.PredictRequest()
        target.fill(request.model_spec)
        rows = await self._convert(
            body, lambda: fill_predict_request(body, request, lambda name: self._signature(request.model_spec, name))
        )
        job = self._predictor.job(request, deadline_s=self._deadline(started_s))
        response = await self._runner.run(job, api="predict", entrypoint="REST", started_s=started_s)
        return str(await self._convert(body, lambda: predict_json(response, rows=rows)))

    async def _run_examples(self, target: RestTarget, body: bytes, started_s: float) -> str:
        classify = target.verb == "classify"
        request = classification_pb2.ClassificationRequest() if classify else regression_pb2.RegressionRequest()
        target.fill(request.model_spec)
        await self._convert(body, lambda: fill_examples_request(body, request))
        check = self._examples.classify if classify else self._examples.regress
        job = check(request, deadline_s=self._deadline(started_s))
        response = await self._runner.run(job, api=target.verb, entrypoint="REST", started_s=started_s)
        return classification_json(response) if classify else regression_json(response)

    async def _convert(self, body: bytes, work: Any) -> Any:
        """Converts large bodies in a thread, so that they hold up nobody for long."""
        if len(body) < _LARGE_BODY_BYTES:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _deadline(self, started_s: float) -> float:
        return started_s + self._timeout_s if self._timeout_s > 0 else float("inf")

    def _signature(self, spec: Any, name: str) -> Signature:
        lease = self._lookup.acquire(spec)
        try:
            found = lease.servable.signatures.get(name or DEFAULT_SIGNATURE)
        finally:
            lease.release()
        if found is None:
            raise InvalidArgumentError(
                f'Serving signature name: "{name or DEFAULT_SIGNATURE}" not found in signature def'
            )
        return found
