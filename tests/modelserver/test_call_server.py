"""The server below the services: calls over a real port, answered from any thread, ended by any side."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tastemaker_modelserver.call_server import Call, CallServer, Handler
from tastemaker_modelserver.errors import UnavailableError
from tastemaker_modelserver.health import Health

METHOD = "/test.Service/Call"
WAIT_S = 20


@contextlib.contextmanager
def serving(
    handlers: Mapping[str, Handler], *, when_idle: Callable[[], None] = lambda: None
) -> Iterator[tuple[CallServer, grpc.Channel]]:
    """A server on a socket of the abstract namespace, and a channel to it."""
    address = f"unix-abstract:tastemaker-{time.monotonic_ns()}"
    server = CallServer(handlers, options={}, when_idle=when_idle)
    server.open(address)
    server.start()
    try:
        with grpc.insecure_channel(address) as channel:
            yield server, channel
    finally:
        server.stop(0)


def ask(channel: grpc.Channel, message: bytes = b"ask", *, method: str = METHOD, **options: Any) -> Any:
    return channel.unary_unary(method)(message, **({"timeout": WAIT_S} | options))


def failure(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


def test_calls_are_answered_from_any_thread() -> None:
    def reverse(call: Call) -> None:
        threading.Thread(target=lambda: call.reply(call.request[::-1])).start()

    with serving({METHOD: reverse}) as (_, channel):
        calls = [channel.unary_unary(METHOD).future(b"%d!" % number, timeout=WAIT_S) for number in range(500)]
        assert [call.result() for call in calls] == [(b"%d!" % number)[::-1] for number in range(500)]


def test_errors_carry_their_code_and_text() -> None:
    with serving({METHOD: lambda call: call.fail(grpc.StatusCode.NOT_FOUND, "kein Modell: Größe")}) as (_, channel):
        assert failure(lambda: ask(channel)) == (grpc.StatusCode.NOT_FOUND, "kein Modell: Größe")


def test_a_handler_that_raises_ends_its_call_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    def handler(call: Call) -> None:
        if call.request == b"bad":
            raise ValueError("what was not thought of")
        call.reply(b"good")

    with serving({METHOD: handler}) as (_, channel):
        code, details = failure(lambda: ask(channel, b"bad"))
        assert (code, "what was not thought of" in details) == (grpc.StatusCode.UNKNOWN, True)
        assert ask(channel) == b"good"
    assert "what was not thought of" in caplog.text


def test_a_call_that_is_ended_twice_harms_no_other() -> None:
    def twice(call: Call) -> None:
        call.reply(b"once")
        call.reply(b"twice")

    with serving({METHOD: twice}) as (_, channel):
        assert [ask(channel) for _ in range(3)] == [b"once"] * 3


def test_unknown_methods_and_calls_without_a_message_are_unimplemented() -> None:
    with serving({METHOD: lambda call: call.reply(b"")}) as (_, channel):
        assert failure(lambda: ask(channel, method="/test.Service/Other"))[0] is grpc.StatusCode.UNIMPLEMENTED
        nothing = channel.stream_unary(METHOD)
        assert failure(lambda: nothing(iter(()), timeout=WAIT_S))[0] is grpc.StatusCode.UNIMPLEMENTED
        assert ask(channel) == b""


def test_handlers_see_the_metadata_and_the_deadline() -> None:
    seen: list[tuple[dict[str, Any], float]] = []

    def handler(call: Call) -> None:
        seen.append((dict(call.metadata), call.deadline_s - time.monotonic()))
        call.reply(b"")

    with serving({METHOD: handler}) as (_, channel):
        ask(channel, timeout=15, metadata=[("x-request-id", "one")])
        channel.unary_unary(METHOD)(b"")
    assert seen[0][0]["x-request-id"] == "one"
    assert 5 < seen[0][1] < 16  # gRPC rounds up what it sends
    assert math.isinf(seen[1][1])


@pytest.mark.parametrize("end", ["cancel", "deadline"])
def test_a_call_that_is_given_up_says_so_once(end: str) -> None:
    given_up: list[Call] = []
    arrived, told = threading.Event(), threading.Event()

    def handler(call: Call) -> None:
        def cancelled() -> None:
            given_up.append(call)
            told.set()

        call.when_cancelled(cancelled)
        arrived.set()

    with serving({METHOD: handler}) as (_, channel):
        call = channel.unary_unary(METHOD).future(b"", timeout=0.5 if end == "deadline" else None)
        assert arrived.wait(WAIT_S)
        if end == "cancel":
            call.cancel()
        assert told.wait(WAIT_S)
        given_up[0].reply(b"too late")  # nobody reads it, and nothing breaks
    assert len(given_up) == 1


def test_an_answered_call_is_not_given_up() -> None:
    given_up: list[bool] = []

    def handler(call: Call) -> None:
        call.when_cancelled(lambda: given_up.append(True))
        call.reply(b"")

    with serving({METHOD: handler}) as (_, channel):
        for _ in range(20):
            ask(channel)
    assert not given_up


def test_a_stream_keeps_its_order() -> None:
    def count(call: Call) -> None:
        for number in range(1000):
            call.send(b"%d" % number)
        call.when_cancelled(lambda: None)

    with serving({METHOD: count}) as (_, channel):
        stream = channel.unary_stream(METHOD)(b"", timeout=WAIT_S)
        assert [next(stream) for _ in range(1000)] == [b"%d" % number for number in range(1000)]
        stream.cancel()


def test_a_stream_ends_with_its_status() -> None:
    def once(call: Call) -> None:
        call.send(b"first")
        call.fail(grpc.StatusCode.UNAVAILABLE, "no more")

    with serving({METHOD: once}) as (_, channel):
        stream = channel.unary_stream(METHOD)(b"", timeout=WAIT_S)
        assert next(stream) == b"first"
        assert failure(lambda: next(stream)) == (grpc.StatusCode.UNAVAILABLE, "no more")


def test_idle_comes_after_what_had_arrived() -> None:
    waiting: list[Call] = []
    answered: list[int] = []

    def flush() -> None:
        answered.append(len(waiting))
        while waiting:
            waiting.pop().reply(b"")

    with serving({METHOD: waiting.append}, when_idle=flush) as (_, channel):
        calls = [channel.unary_unary(METHOD).future(b"", timeout=WAIT_S) for _ in range(300)]
        for call in calls:
            call.result()
        assert sum(answered) == 300
        assert max(answered) <= 64  # those that arrive without a pause are not held back until there is one


def test_stopping_waits_for_calls_in_flight_and_takes_no_more() -> None:
    slow: list[Call] = []
    arrived = threading.Event()

    def handler(call: Call) -> None:
        if call.request == b"quick":
            call.reply(b"")
            return
        slow.append(call)
        arrived.set()

    with serving({METHOD: handler}) as (server, channel):
        call = channel.unary_unary(METHOD).future(b"slow", timeout=WAIT_S)
        assert arrived.wait(WAIT_S)
        stopping = threading.Thread(target=server.stop, args=(WAIT_S,))
        stopping.start()
        # gRPC's core cancels a call that was on its way, and now and then forgets one until its deadline, in any
        # language's server; none is answered, and soon they are UNAVAILABLE.
        codes = [failure(lambda: [ask(channel, b"quick", timeout=1) for _ in iter(int, 1)])[0]]
        while codes[-1] is not grpc.StatusCode.UNAVAILABLE and len(codes) < 12:
            assert codes[-1] in (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)
            codes.append(failure(lambda: ask(channel, b"quick", timeout=1))[0])
        assert codes[-1] is grpc.StatusCode.UNAVAILABLE, codes
        slow[0].reply(b"done")
        assert call.result() == b"done"
        stopping.join(WAIT_S)
        assert not stopping.is_alive()


def test_stopping_cancels_what_is_left_after_the_grace() -> None:
    told, arrived = threading.Event(), threading.Event()

    def handler(call: Call) -> None:
        call.when_cancelled(told.set)
        arrived.set()

    with serving({METHOD: handler}) as (server, channel):
        call = channel.unary_unary(METHOD).future(b"", timeout=WAIT_S)
        assert arrived.wait(WAIT_S)
        server.stop(0.1)
        assert told.is_set()
        assert call.exception(WAIT_S) is not None


def test_an_answer_after_the_end_goes_nowhere() -> None:
    """Else gRPC's core would end the whole process."""
    late: list[Call] = []
    arrived = threading.Event()

    def handler(call: Call) -> None:
        late.append(call)
        if len(late) == 3:
            arrived.set()

    with serving({METHOD: handler}) as (server, channel):
        calls = [channel.unary_unary(METHOD).future(b"", timeout=WAIT_S) for _ in range(3)]
        assert arrived.wait(WAIT_S)
        patient = threading.Thread(target=server.stop, args=(WAIT_S,))
        patient.start()
        server.stop(0)  # again, and sooner
        patient.join(WAIT_S)
        assert not patient.is_alive()
        late[0].reply(b"late")
        late[1].fail(grpc.StatusCode.INTERNAL, "late")
        late[2].send(b"late")
        assert all(call.exception(WAIT_S) is not None for call in calls)


def test_a_taken_address_is_refused(tmp_path: Any) -> None:
    server = CallServer({}, options={"grpc.so_reuseport": 0}, when_idle=lambda: None)
    with pytest.raises(UnavailableError, match="Cannot listen on unix:"):
        server.open(f"unix:{tmp_path}/no/such/folder/socket")


def test_health_is_told_to_those_who_ask_and_to_those_who_watch() -> None:
    def named(service: str) -> Any:
        return health_pb2.HealthCheckRequest(service=service)

    health = Health(["", "Model"])
    serving_now, stopped = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    with serving(health.handlers) as (_, channel):
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(named("Model"), timeout=WAIT_S).status == serving_now
        assert failure(lambda: stub.Check(named("Other"), timeout=WAIT_S))[0] is grpc.StatusCode.NOT_FOUND
        assert failure(lambda: ask(channel, b"\xff", method="/grpc.health.v1.Health/Check"))[0] is (
            grpc.StatusCode.INTERNAL
        )
        unknown = stub.Watch(named("Other"), timeout=WAIT_S)
        assert next(unknown).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch = stub.Watch(named("Model"), timeout=WAIT_S)
        assert next(watch).status == serving_now
        health.stop()
        assert next(watch).status == stopped
        assert failure(lambda: next(watch))[0] is grpc.StatusCode.UNAVAILABLE
        assert stub.Check(named(""), timeout=WAIT_S).status == stopped
        assert [answer.status for answer in _until_end(stub.Watch(named(""), timeout=WAIT_S))] == [stopped]
        assert failure(lambda: next(unknown))[0] is grpc.StatusCode.UNAVAILABLE


def _until_end(stream: Any) -> Iterator[Any]:
    with contextlib.suppress(grpc.RpcError):
        yield from stream
