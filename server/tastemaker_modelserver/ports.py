"""Are the ports free? Asked before TensorFlow takes its seconds to import, and without it."""

import socket

from tastemaker_modelserver.errors import UnavailableError
from tastemaker_modelserver.flags import Flags

__all__ = ["check_ports"]


def check_ports(flags: Flags) -> None:
    """Finds out early whether the ports are free, before TensorFlow takes its seconds to import.

    Raises:
        UnavailableError: A port is taken; the text names it and the flag.
    """
    for flag, port in (("--port", flags.port), ("--rest_api_port", flags.rest_api_port)):
        if not port:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))  # noqa: S104  # every interface, as TensorFlow Serving listens
            except OSError as error:
                raise UnavailableError(
                    f"{flag}={port}: cannot listen there, {error.strerror}; choose another port"
                ) from error
