"""The edges of the ports: TLS, the Unix socket, channel arguments, health, and the Prometheus page."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tastemaker_modelserver.errors import InvalidArgumentError
from tastemaker_modelserver.metrics import Counter
from tastemaker_modelserver.tls import server_credentials

pytestmark = pytest.mark.slow

PAGE = "/own/metrics"
DEFAULT_PAGE = "/monitoring/prometheus/metrics"
START_S = 90
_OPTIONS = [
    ("grpc.ssl_target_name_override", "localhost"),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
]


class Certificates:
    """A CA and what it signs, made by `openssl`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self.ca, self._ca_key = self._make(name)
        self.cert, self.key = self._make(f"{name}-server", signed=True)
        self.client_cert, self.client_key = self._make(f"{name}-client", signed=True)

    def _make(self, name: str, *, signed: bool = False) -> tuple[bytes, bytes]:
        cert, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command += ["-days", "2", "-subj", f"/CN={name}", "-out", str(cert), "-keyout", str(key)]
        if signed:
            ca = self._folder / self._name
            command += ["-CA", f"{ca}.pem", "-CAkey", f"{ca}.key"]
            command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        subprocess.run(command, check=True, capture_output=True)
        return cert.read_bytes(), key.read_bytes()

    def config(self, path: Path, *, client_verify: bool) -> Path:
        """Writes the SSLConfig of the server."""
        lines = {"server_key": self.key, "server_cert": self.cert, "custom_ca": self.ca}
        text = "".join(f"{name}: {json.dumps(pem.decode())}\n" for name, pem in lines.items())
        path.write_text(f"{text}client_verify: {json.dumps(client_verify)}\n")
        return path

    def channel(self, address: str, *, shown: "Certificates | None" = None) -> grpc.Channel:
        """A client that trusts this CA, and shows the client's certificate of another or this one, or none."""
        credentials = grpc.ssl_channel_credentials(
            self.ca, shown.client_key if shown else None, shown.client_cert if shown else None
        )
        return grpc.secure_channel(address, credentials, _OPTIONS)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"), "ours")


@pytest.fixture(scope="module")
def base(models: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edges")
    models.affine(folder / "affine" / "1")
    models.affine(folder / "affine" / "2", intercept=20.0)
    return folder


def predict(channel: grpc.Channel, request: Any) -> list[float]:
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=20)
    return list(response.outputs["y"].float_val)


@pytest.fixture(scope="module")
def verified(start_server: Any, certificates: Certificates, base: Path) -> Any:
    """A server that asks its clients for a certificate."""
    server = start_server(
        "--model_name=affine",
        f"--model_base_path={base / 'affine'}",
        f"--ssl_config_file={certificates.config(base / 'verify.config', client_verify=True)}",
        wait=False,
    )
    with certificates.channel(f"127.0.0.1:{server.port}", shown=certificates) as channel:
        grpc.channel_ready_future(channel).result(START_S)
    return server


def test_a_client_with_a_certificate_is_answered(verified: Any, certificates: Certificates, ask: Any) -> None:
    with certificates.channel(f"127.0.0.1:{verified.port}", shown=certificates) as channel:
        assert predict(channel, ask.predict("affine", x=[[2.0]])) == [21.0]


def test_clients_without_the_right_certificate_are_refused(
    verified: Any, certificates: Certificates, ask: Any, tmp_path: Path
) -> None:
    address, request = f"127.0.0.1:{verified.port}", ask.predict("affine", x=[[2.0]])
    for shown in (None, Certificates(tmp_path, "strangers")):
        with certificates.channel(address, shown=shown) as channel:
            code, _ = ask.failure(lambda: predict(channel, request))
            assert code is grpc.StatusCode.UNAVAILABLE
    with grpc.insecure_channel(address) as channel:
        assert ask.failure(lambda: predict(channel, request))[0] is grpc.StatusCode.UNAVAILABLE


@pytest.fixture(scope="module")
def socket_only(start_server: Any, certificates: Certificates, base: Path) -> Iterator[Any]:
    """A server without a gRPC port: TLS on a Unix socket, and HTTP."""
    path = base / "tls.sock"
    server = start_server(
        "--port=0",
        f"--grpc_socket_path={path}",
        "--model_name=affine",
        f"--model_base_path={base / 'affine'}",
        f"--ssl_config_file={certificates.config(base / 'tls.config', client_verify=False)}",
        rest=True,
        wait=False,
    )
    with certificates.channel(f"unix:{path}") as channel:
        grpc.channel_ready_future(channel).result(START_S)
        yield server, channel


def test_without_client_verify_the_ca_is_enough_on_the_socket_too(socket_only: Any, ask: Any) -> None:
    _, channel = socket_only
    assert predict(channel, ask.predict("affine", x=[[2.0]])) == [21.0]


def test_http_stays_plain_and_has_no_page_of_metrics_unless_asked(socket_only: Any, until: Any) -> None:
    server, _ = socket_only
    until(lambda: "Exporting HTTP/REST API" in server.output())
    assert server.rest("/v1/models/affine:predict", {"instances": [[2.0]]}) == (200, {"predictions": [[21.0]]})
    assert server.rest(DEFAULT_PAGE)[0] == 404


def test_without_its_flag_there_is_no_health_service(socket_only: Any, ask: Any) -> None:
    _, channel = socket_only
    stub = health_pb2_grpc.HealthStub(channel)
    code, _ = ask.failure(lambda: stub.Check(health_pb2.HealthCheckRequest(), timeout=10))
    assert code is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('server_cert: "x"', "server_key is empty, it takes the PEM text itself"),
        ('server_key: "x" server_cert: "x" client_verify: true', "client_verify needs custom_ca"),
        ("server_keys: 1", 'has no field named "server_keys"'),
    ],
)
def test_an_ssl_config_that_cannot_work_says_why(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "ssl.config"
    path.write_text(text)
    with pytest.raises(InvalidArgumentError, match=re.escape(message)):
        server_credentials(path)


def test_a_bad_ssl_config_stops_the_start_with_the_reason(start_server: Any, base: Path, tmp_path: Path) -> None:
    path = tmp_path / "ssl.config"
    path.write_text('server_cert: "x"')
    server = start_server(f"--model_base_path={base / 'affine'}", f"--ssl_config_file={path}", wait=False)
    assert server.process.wait(START_S) == 1
    assert f"{path}: server_key is empty" in server.output()


@pytest.fixture(scope="module")
def edges(start_rest: Any, write_config: Any, base: Path) -> Any:
    """A server with a page of metrics on a path of its own, a socket, health, and a small largest message."""
    config = write_config(
        base / "models.config", {"affine": base / "affine"}, {"affine": "model_version_policy { all {} }"}
    )
    (base / "monitoring.config").write_text(f'prometheus_config {{ enable: true path: "{PAGE}" }}')
    return start_rest(
        f"--model_config_file={config}",
        f"--monitoring_config_file={base / 'monitoring.config'}",
        f"--grpc_socket_path={base / 'plain.sock'}",
        "--enable_grpc_healthcheck_service",
        "--grpc_channel_arguments=grpc.max_receive_message_length=20000,grpc.primary_user_agent=ours",
    )


def test_port_and_socket_serve_and_tell_their_health(edges: Any, base: Path, ask: Any) -> None:
    server, _ = edges
    with grpc.insecure_channel(f"unix:{base / 'plain.sock'}") as socket:
        for channel in (server.channel, socket):
            assert predict(channel, ask.predict("affine", x=[[2.0]])) == [21.0]
            stub = health_pb2_grpc.HealthStub(channel)
            for name in ("", "ModelService", "PredictionService"):
                answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
        unknown = health_pb2.HealthCheckRequest(service="other")
        assert ask.failure(lambda: stub.Check(unknown, timeout=10))[0] is grpc.StatusCode.NOT_FOUND


def test_channel_arguments_reach_grpc(edges: Any, ask: Any) -> None:
    server, _ = edges
    code, details = ask.failure(lambda: predict(server.channel, ask.predict("affine", x=[[2.0]] * 10_000)))
    assert (code, "20000" in details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)


class Page:
    """The samples of a Prometheus page."""

    def __init__(self, rest: Any) -> None:
        status, headers, self.text = rest.send("GET", PAGE)
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain")
        found = re.findall(r"^(:[\w:]+)\{(.*)\} (\S+)$", self.text, re.MULTILINE)
        self.samples = {(name, labels): float(value) for name, labels, value in found}

    def value(self, name: str, labels: str) -> float:
        """A sample; 0 before the first one."""
        return self.samples.get((name, labels), 0)


def test_every_call_is_counted_under_tensorflow_servings_names(edges: Any, ask: Any) -> None:
    from tensorflow_serving.apis import inference_pb2, regression_pb2

    server, rest = edges
    before = Page(rest)
    for version in (1, 2, 2):
        predict(server.channel, ask.predict("affine", version=version, x=[[2.0]]))
    rest.post("/v1/models/affine/versions/1:predict", {"instances": [[2.0]]})
    rest.post("/v1/models/affine:regress", {"signature_name": "regress", "examples": [{}]})
    rest.get("/v1/models/affine/metadata")
    ask.failure(lambda: predict(server.channel, ask.predict("affine", z=[[2.0]])))
    ask.failure(lambda: predict(server.channel, ask.predict("other", x=[[2.0]])))
    rest.post("/v1/models/other:predict", {"instances": [[2.0]]})
    regression = regression_pb2.RegressionRequest()
    regression.model_spec.name, regression.model_spec.signature_name = "affine", "regress"
    regression.input.example_list.examples.add()
    server.prediction.Regress(regression, timeout=20)
    several = inference_pb2.MultiInferenceRequest()
    task = several.tasks.add(method_name="tensorflow/serving/regress")
    task.model_spec.CopyFrom(regression.model_spec)
    for _ in range(3):
        several.input.example_list.examples.add()
    server.prediction.MultiInference(several, timeout=20)
    after = Page(rest)

    serving, own = ":tensorflow:serving:", ":tastemaker:modelserver:"
    affine = 'model_name="affine"'
    grown = {
        (f"{serving}request_count", f'{affine},status="INVALID_ARGUMENT"'): 1,
        (f"{serving}request_count", 'model_name="other",status="NOT_FOUND"'): 2,
        (f"{serving}request_latency_count", f'{affine},API="Predict",entrypoint="GRPC"'): 3,
        (f"{serving}request_latency_count", f'{affine},API="Regress",entrypoint="GRPC"'): 1,
        (f"{serving}request_latency_count", f'{affine},API="predict",entrypoint="REST"'): 1,
        (f"{serving}request_latency_count", f'{affine},API="regress",entrypoint="REST"'): 1,
        (f"{serving}request_latency_count", f'{affine},API="",entrypoint="REST"'): 1,
        (f"{serving}runtime_latency_count", f'{affine},API="Predict",runtime="TF1"'): 4,
        (f"{serving}runtime_latency_count", f'{affine},API="Regress",runtime="TF1"'): 2,
        (f"{serving}request_example_counts_count", 'model="affine"'): 1,
        (f"{serving}request_example_counts_sum", 'model="affine"'): 3,
        (f"{serving}request_example_count_total", 'model="affine"'): 3,
        (f"{own}request_latency_count", f'{affine},version="1",signature_name="serving_default",API="Predict"'): 1,
        (f"{own}request_latency_count", f'{affine},version="2",signature_name="serving_default",API="Predict"'): 2,
        (f"{own}request_latency_count", f'{affine},version="1",signature_name="serving_default",API="predict"'): 1,
        (f"{own}request_latency_count", f'{affine},version="2",signature_name="regress",API="Regress"'): 1,
        (f"{own}request_count", f'{affine},version="2",signature_name="serving_default",API="Predict",status="OK"'): 2,
    }
    assert {key: after.value(*key) - before.value(*key) for key in grown} == grown
    assert after.value(f"{serving}request_count", f'{affine},status="OK"') >= 7


def test_latencies_are_microseconds_in_tensorflow_servings_buckets(edges: Any, ask: Any) -> None:
    server, rest = edges
    predict(server.channel, ask.predict("affine", x=[[2.0]]))
    page = Page(rest)
    for name in ("request_latency", "runtime_latency"):
        assert f"# TYPE :tensorflow:serving:{name} histogram\n" in page.text
    labels = 'model_name="affine",API="Predict",entrypoint="GRPC"'
    name = ":tensorflow:serving:request_latency"
    buckets = re.findall(rf'^{name}_bucket\{{{labels},le="(.*)"\}} (\d+)$', page.text, re.MULTILINE)
    assert [limit for limit, _ in buckets][:4] == ["10", "18", "32.4", "58.32"]
    assert (len(buckets), buckets[-1][0]) == (33, "+Inf")
    counts = [int(count) for _, count in buckets]
    assert counts == sorted(counts)
    assert counts[-1] == page.value(f"{name}_count", labels)
    assert page.value(f"{name}_sum", labels) > 100 * counts[-1]  # no call over the network takes less than 0.1 ms


def test_the_page_is_where_the_config_says_and_nowhere_else(edges: Any) -> None:
    _, rest = edges
    assert rest.send("GET", PAGE)[0] == 200
    assert rest.send("GET", DEFAULT_PAGE)[0] == 404


def test_a_large_count_keeps_all_its_digits() -> None:
    counter = Counter("c", ["a"])
    counter.add("x", by=12_345_678)
    assert list(counter.lines()) == ['c{a="x"} 12345678']
