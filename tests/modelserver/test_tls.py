"""TLS by `--ssl_config_file`, with and without a certificate of the client; what it leaves alone."""

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
from tastemaker_modelserver.tls import server_credentials

pytestmark = pytest.mark.slow

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
    folder = tmp_path_factory.mktemp("tls")
    models.affine(folder / "affine" / "1")
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
        assert predict(channel, ask.predict("affine", x=[[2.0]])) == [3.0]


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
    assert predict(channel, ask.predict("affine", x=[[2.0]])) == [3.0]


def test_http_stays_plain_and_has_no_page_of_metrics_unless_asked(socket_only: Any, until: Any) -> None:
    server, _ = socket_only
    until(lambda: "Exporting HTTP/REST API" in server.output())
    assert server.rest("/v1/models/affine:predict", {"instances": [[2.0]]}) == (200, {"predictions": [[3.0]]})
    assert server.rest("/monitoring/prometheus/metrics")[0] == 404


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
