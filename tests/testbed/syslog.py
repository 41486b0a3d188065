"""A socket that takes datagrams, as a syslog's does."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

VARIABLE = "INVOKE_TOKENS_SYSLOG"


class Log:
    """What listens there; `env` has the program write to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(10)

    def line(self) -> str:
        """What has come, which is there when the program has ended."""
        return self._socket.recv(8192).decode("ascii")

    @property
    def is_empty(self) -> bool:
        self._socket.setblocking(False)
        try:
            return not self._socket.recv(8192)
        except BlockingIOError:
            return True
        finally:
            self._socket.settimeout(10)

    @property
    def env(self) -> dict[str, str]:
        return {VARIABLE: str(self.path)}

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def syslog(tmp_path: Path) -> Iterator[Log]:
    found = Log(tmp_path / "log")
    yield found
    found.close()
