"""A gRPC server whose calls one thread takes in and any thread answers.

`grpc.aio` spends twice as long on a call as the C core below it, on tasks, futures and a thread that wakes the event
loop; beside a run that costs a row 0.2 ms, this was most of a call. So the core's completion queue is read here, in the
way of `grpc.server`, and each event goes straight to a handler. See `docs/adr/0011-calls-from-the-core.md`.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # compiled, without stubs

from tastemaker_modelserver.errors import UnavailableError

__all__ = ["Call", "CallServer", "Handler"]

_log = logging.getLogger(__name__)

_NO_FLAGS = 0
_AT_ONCE = 0.0  # a deadline that has passed
_NEVER_S = 1e11  # what the core gives for no deadline is greater
_MOST_BEFORE_FLUSH = 64

_NEW_CALL = "new call"
_SHUTDOWN = "shutdown"


Handler = Callable[["Call"], None]
"""Sees to it that the call ends, now or later. Runs on the server's one thread: it must not block."""


class Call:
    """One call. `reply` or `fail` ends it, once, from any thread; a stream may `send` before."""

    __slots__ = ("_begun", "_call", "_cancelled", "_gate", "_handler", "_unsent", "deadline_s", "metadata", "request")

    def __init__(self, event: Any, gate: "_Gate") -> None:
        self._call, self._gate = event.call, gate
        self._cancelled: Callable[[], object] | None = None
        self._handler: Handler | None = None
        self._begun = False
        self._unsent: deque[bytes] | None = None  # a queue while a message is being sent
        deadline_s = event.call_details.deadline
        self.deadline_s: float = math.inf
        """On the `time.monotonic` clock; infinity when the caller set none."""
        if deadline_s < _NEVER_S:
            self.deadline_s = time.monotonic() + deadline_s - time.time()
        self.metadata: Sequence[tuple[str, Any]] = event.invocation_metadata
        """What came with the call."""
        self.request = b""
        """The caller's message, serialised."""

    def when_cancelled(self, act: Callable[[], object]) -> None:
        """Has `act` called, on the server's thread, when the caller goes away or its deadline passes.

        For the handler, before it returns.
        """
        self._cancelled = act

    def reply(self, message: bytes) -> None:
        """Ends the call with its one answer. Nothing where the server has ended meanwhile."""
        self._start(
            (
                cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS),
                cygrpc.SendMessageOperation(message, _NO_FLAGS),
                cygrpc.SendStatusFromServerOperation(None, cygrpc.StatusCode.ok, b"", _NO_FLAGS),
            ),
            _ignore,
        )

    def fail(self, code: grpc.StatusCode, message: str) -> None:
        """Ends the call with a status other than OK. What a stream has sent before arrives as well."""
        operations = [cygrpc.SendStatusFromServerOperation(None, code.value[0], message.encode(), _NO_FLAGS)]
        if not self._begun:
            operations.append(cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS))
        self._start(operations, _ignore)

    def send(self, message: bytes) -> None:
        """Sends one message of a stream, after those before."""
        with _streams:
            if self._unsent is None:
                self._unsent = deque()
                self._write(message)
            else:
                self._unsent.append(message)

    def _write(self, message: bytes) -> None:
        operations = [cygrpc.SendMessageOperation(message, _NO_FLAGS)]
        if not self._begun:
            self._begun = True
            operations.append(cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS))
        self._start(operations, self._written)

    def _start(self, operations: Sequence[Any], tag: Callable[[Any], object]) -> None:
        with self._gate.lock:
            if not self._gate.is_ended:
                self._call.start_server_batch(operations, tag)

    def _written(self, event: Any) -> None:
        with _streams:
            if self._unsent and event.success:
                self._write(self._unsent.popleft())
            else:
                self._unsent = None

    def _received(self, event: Any) -> bool:
        """The caller's message is there; whether it went to the handler."""
        handler, self._handler = self._handler, None
        message = event.batch_operations[0].message()
        if message is None or handler is None:  # the caller went away, or closed its side
            self.fail(grpc.StatusCode.UNIMPLEMENTED, "The method takes exactly one message")
            return False
        self.request = message
        try:
            handler(self)
        except Exception as error:
            _log.exception("A call failed for a reason that is ours")
            self.fail(grpc.StatusCode.UNKNOWN, f"{type(error).__name__}: {error}")
        return True

    def _closed(self, event: Any) -> None:
        """The core tells this once of every call, at its end."""
        if event.batch_operations[0].cancelled() and self._cancelled is not None:
            self._cancelled()
        self._cancelled = None


class _Gate:
    """What gRPC's core takes no more, after which it would end the process: calls once it shuts down, then anything."""

    __slots__ = ("is_ended", "is_stopping", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        """Held while something is given to the core that it might take no more."""
        self.is_stopping = self.is_ended = False


_streams = threading.Lock()
"""Held while a stream's queue changes. There are few streams, and they seldom send."""


class CallServer:
    """The server. Its ports are added before `start`."""

    def __init__(
        self, handlers: Mapping[str, Handler], *, options: Mapping[str, int | str], when_idle: Callable[[], None]
    ) -> None:
        """Makes the server; no port is open yet.

        Args:
            handlers: `/package.Service/Method` → what takes its calls.
            options: gRPC's channel arguments.
            when_idle: Called on the server's thread when the calls that had arrived were handed to their handlers.
        """
        self._handlers = handlers
        self._when_idle = when_idle
        self._queue = cygrpc.CompletionQueue()
        self._server = cygrpc.Server(tuple(options.items()), False)
        self._server.register_completion_queue(self._queue)
        self._gate = _Gate()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="grpc", daemon=True)

    def open(self, address: str, credentials: Any = None) -> None:
        """Opens an address, with TLS where there are credentials.

        Raises:
            UnavailableError: It cannot be opened.
        """
        try:
            if credentials is None:
                bound = self._server.add_http2_port(address.encode())
            else:
                bound = self._server.add_http2_port(address.encode(), credentials._credentials)
        except RuntimeError as error:
            raise UnavailableError(f"Cannot listen on {address}: {error}") from error
        if not bound:
            raise UnavailableError(f"Cannot listen on {address}: it is taken")

    def start(self) -> None:
        """Takes calls from now on."""
        self._server.start()
        self._expect_call()
        self._thread.start()

    def stop(self, grace_s: float) -> None:
        """Takes no more calls, gives those in flight `grace_s` seconds, cancels the rest, and waits for their end.

        What is answered after that goes nowhere. To stop again is to stop sooner, if its grace is shorter.
        """
        if not self._thread.is_alive():  # it never started, or has ended
            return
        with self._gate.lock:
            if not self._gate.is_stopping:
                self._gate.is_stopping = True
                self._server.shutdown(self._queue, _SHUTDOWN)
        if not self._ended.wait(grace_s):
            self._server.cancel_all_calls()
        self._thread.join()

    def _expect_call(self) -> None:
        with self._gate.lock:
            if not self._gate.is_stopping:
                self._server.request_call(self._queue, self._queue, _NEW_CALL)

    def _serve(self) -> None:
        handed = 0
        while True:
            event = self._queue.poll(_AT_ONCE if handed else None)
            kind, tag = event.completion_type, event.tag
            if kind == cygrpc.CompletionType.queue_shutdown:
                return
            if kind == cygrpc.CompletionType.queue_timeout:
                handed = 0
                self._when_idle()
            elif tag is _SHUTDOWN:
                self._ended.set()
                with self._gate.lock:
                    self._gate.is_ended = True
                    self._queue.shutdown()
            elif tag is not _ignore:
                handed += self._take_in(event, tag)
                if handed >= _MOST_BEFORE_FLUSH:  # under a steady stream of events it would never be idle
                    handed = 0
                    self._when_idle()
            del event, tag  # what they refer to ends with the call, not with the next event

    def _take_in(self, event: Any, tag: Any) -> bool:
        """One event of a call; whether it brought a handler the call's message."""
        try:
            if tag is not _NEW_CALL:
                return bool(tag(event))
            if event.success:
                self._expect_call()
                self._take(event)
        except Exception:  # the other calls must outlive it
            _log.exception("A call was lost for a reason that is ours")
        return False

    def _take(self, event: Any) -> None:
        call = Call(event, self._gate)
        call._start((cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),), call._closed)
        handler = self._handlers.get(event.call_details.method.decode())
        if handler is None:
            call.fail(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            return
        call._handler = handler
        call._start((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), call._received)


def _ignore(_: Any) -> None:
    """The tag of what needs no more to be done."""
