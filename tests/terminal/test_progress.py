"""The lines that say how far a piece of work is."""

import contextlib
import io
import os
import pty
from collections.abc import Callable, Iterator
from typing import TextIO

import pyte
import pytest

from tokens.terminal.progress import ProgressLine
from tokens.terminal.steps import Steps


class Terminal:
    """A stream that is a terminal, and what its screen says."""

    def __init__(self) -> None:
        self._outer, inner = pty.openpty()
        self.stream: TextIO = os.fdopen(inner, "w")
        self._screen = pyte.Screen(80, 24)

    def lines(self) -> list[str]:
        self.stream.flush()
        os.set_blocking(self._outer, False)
        with contextlib.suppress(BlockingIOError):
            pyte.ByteStream(self._screen).feed(os.read(self._outer, 65536))
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip("\n").split("\n")

    def close(self) -> None:
        self.stream.close()
        os.close(self._outer)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def clock(*times: float) -> Callable[[], float]:
    return iter(times).__next__


def test_nothing_shows_up_in_the_first_second(terminal: Terminal) -> None:
    progress = ProgressLine(terminal.stream, 100, "tokens", now=clock(0.0, 0.9, 1.0))
    progress.update(10)
    assert terminal.lines() == [""]
    progress.update(20)
    assert terminal.lines() == ["20 of 100 tokens (20 %), 4 s left"]


def test_lines_are_printed_above_it_and_it_goes_without_a_trace(terminal: Terminal) -> None:
    progress = ProgressLine(terminal.stream, 2_000_000, "tokens", now=clock(0.0, 3600.0, 3610.0))
    progress.update(500_000)
    progress.print("Updating...")
    assert terminal.lines() == ["Updating...", "500,000 of 2,000,000 tokens (25 %), 3 h 00 min left"]
    progress.update(1_990_000)
    assert terminal.lines()[-1] == "1,990,000 of 2,000,000 tokens (99 %), 18 s left"
    progress.erase()
    assert terminal.lines() == ["Updating..."]


def test_a_pipe_gets_the_lines_only() -> None:
    stream = io.StringIO()
    progress = ProgressLine(stream, 100, "tokens", now=clock(0.0, 5.0))
    progress.update(50)
    progress.print("Updating...")
    progress.erase()
    assert stream.getvalue() == "Updating...\n"


def test_steps_are_named_once_and_counted_on_a_terminal_only(terminal: Terminal) -> None:
    pipe = io.StringIO()
    for stream in (pipe, terminal.stream):
        steps = Steps(stream)
        steps.show("Creating")
        steps.show("Adding", 10, 2000)
        steps.show("Adding", 1500, 2000)
        steps.show("Done")
    assert pipe.getvalue() == "Creating...\nAdding...\nDone...\n"
    assert terminal.lines() == ["Creating...", "Adding... 1,500 of 2,000", "Done..."]
