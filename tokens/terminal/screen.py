"""A question on the screen: drawn over its last drawing, never over what was printed before it."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum

from prompt_toolkit.output import Output
from prompt_toolkit.utils import get_cwidth


class Colour(Enum):
    """The SGR number of each colour in use."""

    RED = 31
    GREEN = 32
    GREY = 90


@dataclass(frozen=True)
class Fragment:
    text: str
    colour: Colour | None = None


Line = list[Fragment]


def plain(text: str) -> Fragment:
    return Fragment(text)


@dataclass(frozen=True)
class View:
    """What a question looks like at one moment.

    `stays` is what is left of it when it is abandoned. `cursor` is the part of the first line before the cursor;
    without one the cursor is out of sight. `needed` is the line that must be seen when the terminal is too short.
    """

    lines: Sequence[Line]
    stays: Line
    cursor: Line | None = None
    needed: int = 0


@dataclass(frozen=True)
class _Layout:
    rows: list[Line]
    cursor_row: int
    cursor_column: int


class Screen:
    """Draws a question over its last drawing.

    Of a list the cursor is kept at the first row: whatever the terminal does to the lines when its size changes, the
    list begins where the cursor is, and erasing from there cannot hit earlier output.
    """

    def __init__(self, output: Output, colour: bool) -> None:
        self._output = output
        self._colour = colour
        self._size = output.get_size()
        self._view: View | None = None
        self._above = 0  # rows of the last drawing above the cursor

    def begin(self, cursor: bool) -> None:
        if self._output.stdout:
            self._output.stdout.flush()
        self._view, self._above = None, 0
        self._output.enable_bracketed_paste()
        if not cursor:
            self._output.hide_cursor()

    def draw(self, view: View) -> None:
        with _undisturbed():
            self._erase()
            layout = self._layout(view)
            self._output.write_raw(self._painted(layout.rows))
            self._output.cursor_up(len(layout.rows) - 1 - layout.cursor_row)
            self._output.write_raw("\r")
            self._output.cursor_forward(layout.cursor_column)
            self._output.flush()
            self._view, self._above = view, layout.cursor_row

    def follow_resize(self) -> None:
        """Draw again if the terminal's size has changed."""
        if self._view and self._output.get_size() != self._size:
            self.draw(self._view)

    def finish(self, line: Line) -> None:
        """Leave one line of the question behind."""
        with _undisturbed():
            self._erase()
            self._output.write_raw(self._painted(_wrap(line, self._size.columns)) + "\r\n")
            self._output.flush()
            self._view, self._above = None, 0

    def abandon(self) -> None:
        """Leave the question as it stands, without an answer."""
        if self._view:
            with suppress(OSError):
                self.finish(self._view.stays)

    def end(self) -> None:
        with _undisturbed(), suppress(OSError):
            self._output.disable_bracketed_paste()
            self._output.show_cursor()
            self._output.flush()

    def _erase(self) -> None:
        size = self._output.get_size()
        if self._view and size != self._size:
            # Some terminals re-wrap their lines, some do not: better a stray row than one too many erased.
            self._size = size
            self._above = min(self._above, self._layout(self._view).cursor_row)
        self._size = size
        self._output.cursor_up(self._above)
        self._output.write_raw("\r")
        self._output.erase_down()

    def _layout(self, view: View) -> _Layout:
        columns, height = self._size.columns, self._size.rows
        lines = [_wrap(line, columns) for line in view.lines]
        needed = sum(len(rows) for rows in lines[: view.needed])
        row = column = 0
        if view.cursor is not None:
            before = _wrap(view.cursor, columns)
            row, column = len(before) - 1, sum(get_cwidth(fragment.text) for fragment in before[-1])
            if column >= columns:
                row, column = row + 1, 0
                if row == len(lines[0]):
                    lines[0].append([])
            needed = row
        rows = [row for rows in lines for row in rows]
        first = min(max(len(rows) - height, 0), needed)
        shown = rows[first : first + height]
        return _Layout(shown, max(row - first, 0), column)

    def _painted(self, rows: list[Line]) -> str:
        return "\r\n".join("".join(self._coloured(fragment) for fragment in row) for row in rows)

    def _coloured(self, fragment: Fragment) -> str:
        if not (self._colour and fragment.colour and fragment.text):
            return fragment.text
        return f"\x1b[{fragment.colour.value}m{fragment.text}\x1b[0m"


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold signals back, so that the exceptions that their handlers raise come before or after a drawing."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wrap(line: Line, columns: int) -> list[Line]:
    """The line in rows of at most `columns` cells, broken wherever the edge happens to be."""
    rows: list[Line] = [[]]
    used = 0
    for fragment in line:
        start = 0
        for position, character in enumerate(fragment.text):
            width = get_cwidth(character)
            if used + width > columns and used:
                rows[-1].append(Fragment(fragment.text[start:position], fragment.colour))
                rows.append([])
                start, used = position, 0
            used += width
        rows[-1].append(Fragment(fragment.text[start:], fragment.colour))
    return rows
