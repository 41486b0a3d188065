"""What the process's streams can do."""

import os
import sys
from typing import TextIO

from tokens.errors import TerminalRequired


def require_terminal(task: str, instead: str) -> None:
    """Refuse to ask questions of a pipe, before anything else is done.

    Raises:
        TerminalRequired: standard input or output is no terminal; `instead` says what needs none.
    """
    if not (_is_terminal(sys.stdin) and _is_terminal(sys.stdout)):
        raise TerminalRequired(
            f"{task} asks questions and needs a terminal on standard input and output; "
            f"without one use {instead} (docker exec and kubectl exec give one with -it)."
        )


def has_colour(stream: TextIO) -> bool:
    """Whether `stream` should be coloured: a terminal that can, and a person who has not set NO_COLOR."""
    return _is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _is_terminal(stream: TextIO | None) -> bool:
    # A stream that the caller closed is None, or fails when asked.
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False
