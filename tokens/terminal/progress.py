"""How far a long piece of work is, in one line that leaves no trace."""

import contextlib
import os
import re
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

from tokens.terminal import console
from tokens.terminal.paragraphs import laid_out, width
from tokens.terminal.printable import printable

PATIENCE = 1.0  # seconds before a bar shows up
INTERVAL = 5.0  # seconds between two lines where none can be redrawn
RECENT = 60.0  # seconds whose rate counts for the time left
NARROW = 40  # columns of a terminal below which no reason stands above
BAR = (10, 30)  # columns that a bar has at least, else there is none, and at most
ERASE = "\r\x1b[K"


class ProgressBar:
    """A bar, a count, the rate of the last minute and the time left by that rate; why the work waits, while it does.

    On a stream that is no terminal, or a dumb one, it is a plain line every few seconds, and one whenever there is
    another reason to wait. Nothing but such a reason shows up in the first second, or what `console.patience()` is
    without a terminal.
    """

    def __init__(
        self, stream: TextIO | None, total: int, unit: str, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        """`total` is in `unit`s, a plural noun."""
        self._stream = stream  # None where the caller has closed it
        self._now = now
        self._started = now()
        self._enabled = console.can_redraw(stream)
        self._text = ""
        self._total = total
        self._unit = unit
        self._done = 0
        self._recent = deque([(self._started, 0)])
        self._next_line = self._started + console.patience()
        self._cause = ""
        self._said = ""  # the last cause that stands above

    def update(self, done: int) -> None:
        """Show that `done` of the total are done."""
        self._done = done
        self._cause = ""
        now = self._note()
        if self._enabled:
            if now - self._started >= PATIENCE:
                self._draw(self._composed(self._pace(), self._columns()))
        elif now >= self._next_line:
            self._line(now, self._pace())

    def expect(self, total: int) -> None:
        """Count towards another total from now on."""
        self._total = total

    def waiting(self, reason: str) -> None:
        """Show that nothing is done at the moment, and why; to be called again and again while that is so."""
        now = self._note()
        reason = printable(reason)
        cause = _without_numbers(reason)
        another, self._cause = cause != self._cause, cause
        if self._enabled:
            self._draw(self._waiting_line(reason, cause))
        elif another or now >= self._next_line:
            self._line(now, f"waiting: {reason}")

    def print(self, line: str) -> None:
        """Print an ordinary line above the progress."""
        self._write(f"{ERASE if self._text else ''}{line}\n{self._text}")

    def erase(self) -> None:
        """Take the progress away."""
        if self._text:
            self._text = ""
            self._write(ERASE)

    def _note(self) -> float:
        """Remember what is done by now, and forget what was longer ago than the rate goes back."""
        now = self._now()
        self._recent.append((now, self._done))
        while len(self._recent) > 2 and now - self._recent[1][0] >= RECENT:
            self._recent.popleft()
        return now

    def _pace(self) -> str:
        (then, before), (now, done) = self._recent[0], self._recent[-1]
        if now <= then or done <= before:
            return ""
        rate = (done - before) / (now - then)
        return f"{rate:,.{0 if rate >= 10 else 1}f}/s, {duration((self._total - done) / rate)} left"

    def _composed(self, pace: str, columns: int) -> str:
        """The line, with a bar where it has room for one."""
        text = ", ".join(filter(None, (_counted(self._done, self._total, self._unit), pace)))
        least, most = BAR
        length = min(columns - len(text) - len("[] "), most)
        if length < least:
            return text
        filled = length * self._done // self._total if self._total else length
        return f"[{'#' * filled}{'.' * (length - filled)}] {text}"

    def _waiting_line(self, reason: str, cause: str) -> str:
        """The line while the work waits: a long reason goes before the count, and stands above where it is too long."""
        columns = self._columns()
        pace = f"waiting: {reason}"
        line = self._composed(pace, columns)
        if width(line) <= columns or columns + 1 < NARROW:
            return line
        if width(pace) <= columns:
            return pace
        if cause != self._said:
            self._said = cause
            self.print(laid_out(f"Waiting: {reason}", columns))
        return self._composed("waiting", columns)

    def _draw(self, text: str) -> None:
        self._text = text[: self._columns()]
        self._write(ERASE + self._text)

    def _columns(self) -> int:
        """How much fits: a line that wraps could not be erased."""
        columns = 0
        with contextlib.suppress(OSError):
            columns = os.get_terminal_size(self._stream.fileno()).columns if self._stream else 0
        return (columns or 80) - 1

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            # Nobody reads it any more, which must not end the work.
            console.discard(self._stream)
            self._stream = None

    def _line(self, now: float, pace: str) -> None:
        self._next_line = now + INTERVAL
        self._write(self._composed(pace, 0) + "\n")


def _counted(done: int, total: int, unit: str) -> str:
    return f"{done:,} of {total:,} {unit} ({100 * done // total if total else 100} %)"


def _without_numbers(reason: str) -> str:
    """What stays the same while seconds are counted: the words that are no numbers."""
    return re.sub(r"(?<!\S)[\d.,]+(?!\S)", "", reason)


def duration(seconds: float) -> str:
    """Seconds for people, such as `2 min 05 s`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
