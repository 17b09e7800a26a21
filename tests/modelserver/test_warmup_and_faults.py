"""Warm-up before AVAILABLE, and clients that misbehave. `test_loading` holds what can go wrong with a version."""

import concurrent.futures
import shutil
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

pytestmark = pytest.mark.slow

SPIN = 6e5
"""Steps of `spinner` that take seconds."""


@pytest.fixture(scope="module")
def base(models: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    models.affine(folder / "affine" / "1")
    models.spinner(folder / "spinner" / "1")
    return folder


@pytest.fixture(scope="module")
def server(start_server: Any, base: Path, write_config: Any) -> Any:
    config = write_config(base / "models.config", {name: base / name for name in ("affine", "spinner")})
    return start_server(f"--model_config_file={config}", "--max_num_load_retries=0", "--num_load_threads=2")


@pytest.fixture
def publish(base: Path, tf: Any, tmp_path: Path) -> Callable[..., None]:
    """Copies version 1 of a model to another version, with warm-up records, and shows it at once."""

    def copy(model: str, version: int, *records: bytes, raw: bytes | None = None) -> None:
        built = tmp_path / "built"
        shutil.copytree(base / model / "1", built)
        extra = built / "assets.extra"
        extra.mkdir()
        warmup = extra / "tf_serving_warmup_requests"
        if raw is not None:
            warmup.write_bytes(raw)
        else:
            with tf.io.TFRecordWriter(str(warmup)) as writer:
                for record in records:
                    writer.write(record)
        built.rename(base / model / str(version))

    return copy


@pytest.fixture
def spin(ask: Any, tf: Any) -> Callable[..., Any]:
    """A request that takes `n` steps."""

    def make(n: float, **spec: Any) -> Any:
        return ask.predict("spinner", x=[3.0], n=tf.make_tensor_proto(n, dtype=tf.float32), **spec)

    return make


def log_of(request: Any) -> bytes:
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request)
    return bytes(log.SerializeToString())


def test_a_call_in_flight_ends_on_its_version_while_another_warms_up_and_takes_over(
    server: Any, publish: Any, spin: Any, until: Any
) -> None:
    def current() -> int:
        return int(server.prediction.Predict(spin(1.0), timeout=10).model_spec.version.value)

    publish("spinner", 2, log_of(spin(SPIN)))
    until(lambda: server.states("spinner").get(2) == "LOADING")
    assert current() == 1
    assert server.states("spinner") == {2: "LOADING", 1: "AVAILABLE"}
    slow = server.prediction.Predict.future(spin(2 * SPIN, version=1), timeout=60)
    until(lambda: server.states("spinner")[2] == "AVAILABLE")
    until(lambda: server.states("spinner")[1] in ("UNLOADING", "END"))
    assert current() == 2
    assert slow.result().model_spec.version.value == 1
    until(lambda: server.states("spinner") == {2: "AVAILABLE", 1: "END"})
    lines = server.output()
    assert lines.index("Replayed 1 warmup records") < lines.index(
        "Successfully loaded servable version {name: spinner version: 2}"
    )


@pytest.mark.parametrize(
    ("version", "content", "reason"),
    [
        (20, {"raw": b"this is no TFRecord file, nor will it ever be one"}, "verify your warmup data is in TFRecord"),
        (21, {"records": [b"\xff\xff\xff"]}, "Failed to parse warmup record"),
        (22, {"records": [b""] * 1001}, "Number of warmup records exceeds the maximum (1000)"),
    ],
)
def test_a_damaged_warmup_file_fails_its_version_alone(
    server: Any, ask: Any, publish: Any, until: Any, version: int, content: dict[str, Any], reason: str
) -> None:
    publish("affine", version, *content.get("records", ()), raw=content.get("raw"))
    until(lambda: server.states("affine").get(version, "").startswith("END "))
    assert reason in server.states("affine")[version]
    response = server.prediction.Predict(ask.predict("affine", x=[[2.0]]), timeout=10)
    assert (response.model_spec.version.value, list(response.outputs["y"].float_val)) == (1, [3.0])


def test_clients_that_go_away_mid_call_leave_nothing_behind(server: Any, spin: Any, until: Any) -> None:
    from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc, prediction_service_pb2_grpc

    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "spinner"
    for _ in range(20):
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
            call = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict.future(spin(SPIN))
            # Calls of one connection are taken in their order: once this one is answered, the other has begun.
            model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status, timeout=10)
            assert not call.done()
    assert server.prediction.Predict(spin(1.0), timeout=60).outputs["y"].float_val[0] == 3.0


def test_calls_whose_clients_went_away_are_not_run(server: Any, ask: Any, spin: Any) -> None:
    from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc, prediction_service_pb2_grpc

    # The session of `spinner` has one thread on two cores. The first call holds it until its deadline; equal ones wait
    # behind it, and would hold it for good, as they have no deadline.
    forever, status = spin(1e12), get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "spinner"
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        first = stub.Predict.future(forever, timeout=8)
        look = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus
        for _ in range(5):  # calls of one connection are taken in their order: the first has begun when these are done
            look(status, timeout=10)
        waiting = [stub.Predict.future(forever) for _ in range(20)]
        look(status, timeout=10)
        for call in waiting:
            assert call.cancel()
        look(status, timeout=10)
        assert ask.failure(first.result)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert server.prediction.Predict(spin(1.0), timeout=10).outputs["y"].float_val[0] == 3.0


def test_a_connection_that_breaks_in_the_middle_of_a_message_harms_nobody(server: Any, spin: Any) -> None:
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + b"\x00\x10")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
    assert server.prediction.Predict(spin(1.0), timeout=10).outputs["y"].float_val[0] == 3.0


def test_messages_over_4_mb_go_both_ways(server: Any, ask: Any) -> None:
    import numpy as np
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    x = np.arange(1_500_000, dtype=np.float32).reshape(-1, 1)
    request = ask.predict("affine", x=x)
    assert request.ByteSize() > 4 * 2**20
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
        response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)
    assert response.ByteSize() > 4 * 2**20
    np.testing.assert_allclose(np.array(response.outputs["y"].float_val), x[:, 0] / 2 + 2)


def test_200_connections_are_served_at_once(server: Any, ask: Any) -> None:
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.insecure_channel(f"127.0.0.1:{server.port}", options=options) for _ in range(200)]

    def answer(number: int) -> float:
        grpc.channel_ready_future(channels[number]).result(timeout=60)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channels[number])
        response = stub.Predict(ask.predict("affine", x=[[2.0 * number]]), timeout=60)
        return float(response.outputs["y"].float_val[0])

    try:
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            for _ in range(2):  # the second round with all of them open
                assert list(pool.map(answer, range(200))) == [number + 2.0 for number in range(200)]
    finally:
        for channel in channels:
            channel.close()


def test_it_still_ends_cleanly(server: Any) -> None:
    assert server.stop() == 0
    assert "Traceback" not in server.output()
