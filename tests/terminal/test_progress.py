"""The progress of a run: a bar on a terminal, plain lines elsewhere, and why it waits."""

import fcntl
import io
import struct
import termios
import time
from collections.abc import Iterator

import pytest

from tests.testbed.screen import Terminal
from tokens.terminal.console import PATIENCE_VARIABLE
from tokens.terminal.progress import ProgressBar


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time

    def pass_by(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    resize(terminal, 80)
    yield terminal
    terminal.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def _usual_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PATIENCE_VARIABLE)


def resize(terminal: Terminal, columns: int) -> None:
    fcntl.ioctl(terminal.stream.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


def assert_shows(terminal: Terminal, *lines: str) -> None:
    """What was written has reached the screen, which takes the system a moment, and is all that is on it."""
    deadline = time.monotonic() + 10
    while (found := terminal.lines()) != list(lines) and time.monotonic() < deadline:
        pass
    assert found == list(lines)


def test_a_bar_shows_count_rate_and_time_left_and_goes_without_a_trace(terminal: Terminal, clock: Clock) -> None:
    progress = ProgressBar(terminal.stream, 2000, "tokens", now=clock)
    clock.pass_by(0.9)
    progress.update(90)
    assert_shows(terminal, "")
    clock.pass_by(9.1)
    progress.update(500)
    assert_shows(terminal, f"[{7 * '#'}{23 * '.'}] 500 of 2,000 tokens (25 %), 50/s, 30 s left")
    progress.print("3 tokens were left alone.")
    clock.pass_by(10)
    progress.update(2000)
    assert_shows(
        terminal,
        "3 tokens were left alone.",
        f"[{30 * '#'}] 2,000 of 2,000 tokens (100 %), 100/s, 0 s left",
    )
    progress.erase()
    assert_shows(terminal, "3 tokens were left alone.")


def test_a_dumb_terminal_gets_plain_lines(terminal: Terminal, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    progress = ProgressBar(terminal.stream, 2000, "tokens", now=clock)
    clock.pass_by(10)
    progress.update(500)
    progress.erase()
    assert_shows(terminal, "500 of 2,000 tokens (25 %), 50/s, 30 s left")


def test_the_reason_takes_the_rates_place_while_the_work_waits(terminal: Terminal, clock: Clock) -> None:
    progress = ProgressBar(terminal.stream, 2000, "tokens", now=clock)
    progress.waiting("db2 is 14 s behind")
    assert_shows(terminal, f"[{24 * '.'}] 0 of 2,000 tokens (0 %), waiting: db2 is 14 s behind")
    clock.pass_by(5)
    progress.update(50)
    assert_shows(terminal, f"[{29 * '.'}] 50 of 2,000 tokens (2 %), 10/s, 3 min 15 s left")


def test_a_narrow_terminal_has_no_bar_and_no_line_that_wraps(terminal: Terminal, clock: Clock) -> None:
    progress = ProgressBar(terminal.stream, 2000, "tokens", now=clock)
    clock.pass_by(10)
    resize(terminal, 50)
    progress.update(500)
    assert_shows(terminal, "500 of 2,000 tokens (25 %), 50/s, 30 s left")
    resize(terminal, 20)
    progress.waiting("db2\x1b[2J is away\nfor ever")
    assert_shows(terminal, "500 of 2,000 tokens")


def test_a_reason_is_whole_on_a_usual_terminal_however_long_it_is(terminal: Terminal, clock: Clock) -> None:
    progress = ProgressBar(terminal.stream, 15_653, "tokens", now=clock)
    clock.pass_by(2)
    progress.update(5_000)
    behind = "gitlab@db2.example.com:5432/gitlabhq_production is {} s behind".format
    progress.waiting(behind(12))
    assert_shows(terminal, f"waiting: {behind(12)}")
    away = "Cannot reach gitlab@db2.example.com:5432/gitlabhq_production within {} seconds: timeout expired".format
    for seconds in (3, 4):
        progress.waiting(away(seconds))
        progress.update(5_000)
    progress.waiting(away(5))
    told = (
        "Waiting: Cannot reach gitlab@db2.example.com:5432/gitlabhq_production within 3",
        "seconds: timeout expired",
    )
    assert_shows(terminal, *told, f"[{9 * '#'}{21 * '.'}] 5,000 of 15,653 tokens (31 %), waiting")
    progress.erase()
    assert_shows(terminal, *told)


def test_a_terminal_of_forty_columns_has_the_reason_above(terminal: Terminal, clock: Clock) -> None:
    progress = ProgressBar(terminal.stream, 7385, "tokens", now=clock)
    clock.pass_by(2)
    resize(terminal, 40)
    progress.update(3500)
    progress.waiting("another session has locked a table")
    told = ("Waiting: another session has locked a", "table")
    assert_shows(terminal, *told, "3,500 of 7,385 tokens (47 %), waiting")


def test_the_rate_forgets_a_long_wait_within_a_minute() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = ProgressBar(stream, 100_000, "tokens", now=clock)
    for _ in range(3600):
        clock.pass_by(1)
        progress.waiting("db2 is 99 s behind")
    for number in range(1, 62):
        clock.pass_by(1)
        progress.update(100 * number)
    assert ", 100/s, " in stream.getvalue().splitlines()[-1]


def test_elsewhere_there_is_a_plain_line_every_few_seconds() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = ProgressBar(stream, 2000, "tokens", now=clock)
    for number in range(1, 13):
        clock.pass_by(0.5)
        progress.update(10 * number)
    progress.print("3 tokens were left alone.")
    progress.erase()
    assert stream.getvalue().splitlines() == [
        "20 of 2,000 tokens (1 %), 20/s, 1 min 39 s left",
        "120 of 2,000 tokens (6 %), 20/s, 1 min 34 s left",
        "3 tokens were left alone.",
    ]


def test_elsewhere_another_reason_to_wait_is_told_at_once_but_not_every_second_of_it() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = ProgressBar(stream, 2000, "tokens", now=clock)
    clock.pass_by(2)
    progress.update(100)
    for seconds in range(11, 18):
        clock.pass_by(1)
        progress.waiting(f"db2 is {seconds} s behind")
    clock.pass_by(1)
    progress.waiting("db3 is 11 s behind")
    assert stream.getvalue().splitlines() == [
        "100 of 2,000 tokens (5 %), 50/s, 38 s left",
        "100 of 2,000 tokens (5 %), waiting: db2 is 11 s behind",
        "100 of 2,000 tokens (5 %), waiting: db2 is 16 s behind",
        "100 of 2,000 tokens (5 %), waiting: db3 is 11 s behind",
    ]


def test_a_stream_that_the_caller_closed_is_no_fault() -> None:
    clock = Clock()
    progress = ProgressBar(None, 100, "tokens", now=clock)
    clock.pass_by(2)
    progress.update(10)
    progress.waiting("db2 is 11 s behind")
    progress.print("3 tokens were left alone.")
    progress.erase()


def test_nothing_to_do_is_all_done() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = ProgressBar(stream, 0, "tokens", now=clock)
    clock.pass_by(2)
    progress.update(0)
    assert stream.getvalue() == "0 of 0 tokens (100 %)\n"
