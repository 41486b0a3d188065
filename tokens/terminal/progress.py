"""One line that says how far a long piece of work is, and leaves no trace."""

import os
import time
from collections.abc import Callable
from typing import TextIO

PATIENCE = 1.0  # seconds before the line shows up at all
ERASE = "\r\x1b[K"


class ProgressLine:
    """A count, a percentage and the time left, redrawn in place below what else is printed.

    Nothing is ever written to a stream that is no terminal.
    """

    def __init__(self, stream: TextIO, total: int, unit: str, *, now: Callable[[], float] = time.monotonic) -> None:
        """`total` is in `unit`s, a plural noun."""
        self._stream = stream
        self._total = total
        self._unit = unit
        self._now = now
        self._started = now()
        self._enabled = stream.isatty()
        self._text = ""

    def update(self, done: int) -> None:
        """Show that `done` of the total are done."""
        elapsed = self._now() - self._started
        if not self._enabled or elapsed < PATIENCE or not done:
            return
        left = _duration((self._total - done) * elapsed / done)
        text = f"{done:,} of {self._total:,} {self._unit} ({100 * done // self._total} %), {left} left"
        # A line that wraps could not be erased.
        columns = os.get_terminal_size(self._stream.fileno()).columns or 80
        self._text = text[: columns - 1]
        self._write(ERASE + self._text)

    def print(self, line: str) -> None:
        """Print an ordinary line above the progress line."""
        self._write(f"{ERASE if self._text else ''}{line}\n{self._text}")

    def erase(self) -> None:
        """Take the line away."""
        if self._text:
            self._text = ""
            self._write(ERASE)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
