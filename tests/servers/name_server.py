"""A DNS server for tests: a name can come to mean more machines while a client runs, as it does in a cluster."""

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

__all__ = ["NameServer", "name_server"]

_TYPE_A = 1
_NAME_IS_THE_QUESTIONS = 0xC00C
_ANSWER, _NO_ERROR = 0x8180, 0


class NameServer:
    """Answers every question for IPv4 addresses with `hosts`."""

    def __init__(self) -> None:
        self.hosts: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """Ends it; an empty packet is not a question."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(b"", self._socket.getsockname())
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            packet, sender = self._socket.recvfrom(512)
            if not packet:
                return
            name_end = packet.index(b"\0", 12) + 1
            question = packet[12 : name_end + 4]
            (kind,) = struct.unpack_from(">H", packet, name_end)
            hosts = self.hosts if kind == _TYPE_A else []
            answers = b"".join(
                struct.pack(">HHHIH", _NAME_IS_THE_QUESTIONS, _TYPE_A, 1, 0, 4) + socket.inet_aton(host)
                for host in hosts
            )
            header = packet[:2] + struct.pack(">HHHHH", _ANSWER | _NO_ERROR, 1, len(hosts), 0, 0)
            self._socket.sendto(header + question + answers, sender)


@pytest.fixture
def name_server() -> Iterator[NameServer]:
    """A DNS server on a free port of 127.0.0.1."""
    server = NameServer()
    yield server
    server.close()
