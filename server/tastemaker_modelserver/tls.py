"""`--ssl_config_file`: PEM contents in a text-proto, and whether clients must show a certificate."""

from pathlib import Path
from typing import Any

import grpc

from tastemaker_modelserver.errors import InvalidArgumentError
from tastemaker_modelserver.text_config import ssl_config

__all__ = ["server_credentials"]


def server_credentials(path: Path) -> Any:
    """The credentials of a gRPC port.

    Raises:
        InvalidArgumentError: The file does not parse, or key, certificate or the clients' CA is missing.
    """
    config = ssl_config(path)
    problems = [
        f"{name} is empty, it takes the PEM text itself"
        for name in ("server_key", "server_cert")
        if not getattr(config, name)
    ]
    if config.client_verify and not config.custom_ca:
        problems.append("client_verify needs custom_ca, the PEM text of the CA that signs the clients' certificates")
    if problems:
        raise InvalidArgumentError(f"{path}: {'; '.join(problems)}")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )
