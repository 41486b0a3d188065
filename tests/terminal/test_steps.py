"""The lines that say how far a piece of work is."""

import io
import sys
from collections.abc import Iterator

import pytest

from tests.testbed.screen import Terminal
from tokens.terminal.console import PATIENCE_VARIABLE, patience
from tokens.terminal.steps import Steps, announced


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


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


def test_what_takes_long_is_announced_and_forgotten_by_a_terminal(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr("sys.stderr", pipe)
    monkeypatch.setenv(PATIENCE_VARIABLE, "0")
    with announced("Making the plan", sys.stderr):
        while not pipe.getvalue():
            pass
    assert pipe.getvalue() == "Making the plan...\n"
    monkeypatch.setattr("sys.stderr", terminal.stream)
    print("Before", file=terminal.stream)
    with announced("Making the plan", sys.stderr):
        while terminal.lines() != ["Before", "Making the plan..."]:
            pass
    assert terminal.lines() == ["Before"]


def test_a_dumb_terminal_gets_no_escape_sequence(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv(PATIENCE_VARIABLE, "0")
    steps = Steps(terminal.stream)
    steps.show("Adding", 10, 2000)
    with announced("Making the plan", terminal.stream):
        while terminal.lines() != ["Adding...", "Making the plan..."]:
            pass
    assert terminal.lines() == ["Adding...", "Making the plan..."]


@pytest.mark.parametrize(
    ("said", "seconds"), [("600", 600), ("0", 0), ("", 1), ("-1", 1), ("inf", 1), ("nan", 1), ("1e9", 1), ("soon", 1)]
)
def test_the_environment_says_what_takes_long(monkeypatch: pytest.MonkeyPatch, said: str, seconds: float) -> None:
    monkeypatch.setenv(PATIENCE_VARIABLE, said)
    assert patience() == seconds
    monkeypatch.delenv(PATIENCE_VARIABLE)
    assert patience() == 1


def test_what_is_over_soon_is_not_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr("sys.stderr", pipe)
    monkeypatch.setenv(PATIENCE_VARIABLE, "60")
    with pytest.raises(ZeroDivisionError), announced("Making the plan", sys.stderr):
        raise ZeroDivisionError
    monkeypatch.setattr("sys.stderr", None)
    monkeypatch.setenv(PATIENCE_VARIABLE, "0")
    with announced("Making the plan", sys.stderr):
        pass
    assert pipe.getvalue() == ""
