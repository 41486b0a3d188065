"""What the process's streams can do."""

import fcntl
import io
import struct
import termios
from collections.abc import Iterator

import pytest

from tests.testbed.screen import Terminal
from tokens.terminal.console import columns


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    fcntl.ioctl(terminal.stream.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    yield terminal
    terminal.close()


@pytest.mark.parametrize(("said", "expected"), [("60", 60), ("", 120), ("0", 120), ("-1", 120), ("wide", 120)])
def test_a_terminal_is_as_wide_as_columns_says(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, said: str, expected: int
) -> None:
    monkeypatch.setenv("COLUMNS", said)
    assert columns(terminal.stream) == expected


def test_without_columns_a_terminal_has_its_own_width(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert columns(terminal.stream) == 120


def test_what_is_no_terminal_has_no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert columns(io.StringIO()) is None
    assert columns(None) is None
