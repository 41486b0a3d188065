"""What the process's streams can do."""

import errno
import io
import os
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

ESCAPED = "backslashreplace"
PATIENCE_VARIABLE = "GITLAB_TOKENS_PATIENCE"
PATIENCE = 1.0  # seconds before work shows up that is over soon as a rule
LONGEST = 86_400.0  # seconds
USUAL_COLUMNS = 80  # of a terminal that does not say how many it has


def has_colour(stream: TextIO | None) -> bool:
    """Whether `stream` should be coloured: a terminal that can, and a person who has not set NO_COLOR.

    FORCE_COLOR is for a terminal that is said to be dumb; what goes into a pipe has no colour in any case.
    """
    if not is_terminal(stream) or os.environ.get("NO_COLOR"):
        return False
    return os.environ.get("TERM") != "dumb" or os.environ.get("FORCE_COLOR", "0") not in ("", "0")


def can_redraw(stream: TextIO | None) -> bool:
    """Whether a line on `stream` can be taken away again: a terminal that knows escape sequences."""
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def columns(stream: TextIO | None) -> int | None:
    """How many columns the terminal has that `stream` is, those of COLUMNS if it says any; None where it is none."""
    if stream is None or not is_terminal(stream):
        return None
    with suppress(ValueError):
        if (said := int(os.environ.get("COLUMNS", ""))) > 0:
            return said
    with suppress(OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns or USUAL_COLUMNS
    return USUAL_COLUMNS


def is_gone(stream: TextIO | None) -> bool:
    """Whether `stream` was a terminal that has been closed."""
    if stream is None:
        return False
    try:
        termios.tcgetattr(stream)
    except termios.error as error:
        return bool(error.args[0] == errno.EIO)
    except (ValueError, OSError):
        return False
    return False


@contextmanager
def restored() -> Iterator[None]:
    """Leave the terminal as it was, if a program ends with an error that has changed it and could not clean up.

    Its modes, a visible cursor at a line's start, no colour, and no bracketed paste, which would put its marks into
    whatever is pasted next.
    """
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    except BaseException:
        with suppress(termios.error, OSError):
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
            sys.stdout.write("\x1b[?2004l\x1b[?25h\x1b[0m\r\n")
            sys.stdout.flush()
        raise


def output_fault(error: OSError, stdout: TextIO | None) -> str | None:
    """What to say when `stdout` takes no more; None where `error` is about something else.

    Empty for a reader that has seen enough (`| head -1`). What is still buffered goes nowhere from now on.
    """
    if error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG):
        return None
    discard(stdout)
    return "" if error.errno == errno.EPIPE else f"The output cannot be written: {error.strerror}."


def patience() -> float:
    """Seconds before work shows up that is over soon as a rule: those that the environment says, one otherwise."""
    with suppress(ValueError):
        seconds = float(os.environ.get(PATIENCE_VARIABLE, ""))
        if 0 <= seconds <= LONGEST:
            return seconds
    return PATIENCE


def write_anything() -> None:
    """Let standard output and error take every character: what their encoding does not have comes as \\u0142.

    A locale that is not UTF-8 would else end a table with a traceback in its middle.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors != ESCAPED:
            stream.reconfigure(errors=ESCAPED)


def write_utf8(stream: TextIO | None) -> None:
    """Let `stream` be UTF-8 whatever the locale is, for what a program reads."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8", errors=ESCAPED)


def discard(stream: TextIO | None) -> None:
    """Let what is still to be written to `stream` go nowhere, without a complaint."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person is at the other end of `stream`."""
    # A stream that the caller closed is None, or fails when asked.
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False
