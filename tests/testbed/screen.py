"""Drive a program in a pseudo-terminal and read what a person would see.

    from tests.testbed.screen import Program

    with Program([sys.executable, "-m", "tokens", "edit"], size=(24, 80)) as program:
        program.wait_for("What do you want to do?")
        program.press("down", "enter")
        assert program.wait() == 0

Nothing sleeps: `wait_for` reads the terminal until the screen says what is expected, or fails with what it says.
"""

import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Self, TextIO

import pyte

from tests.testbed.forks import Fork, can_fork

DEADLINE = 60.0  # seconds; a busy machine is no fault
GLANCE = 0.05  # seconds between two looks at a condition, which the screen may not show

KEYS = {
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "home": "\x1b[H",
    "end": "\x1b[F",
    "pgup": "\x1b[5~",
    "pgdn": "\x1b[6~",
    "delete": "\x1b[3~",
    "f1": "\x1bOP",
    "f5": "\x1b[15~",
    "f12": "\x1b[24~",
    "tab": "\t",
    "enter": "\r",
    "lf": "\n",
    "space": " ",
    "esc": "\x1b",
    "backspace": "\x7f",
    "ctrl-c": "\x03",
    "ctrl-d": "\x04",
    "ctrl-h": "\x08",
    "ctrl-n": "\x0e",
    "ctrl-p": "\x10",
    "ctrl-z": "\x1a",
    "up-application": "\x1bOA",
    "down-application": "\x1bOB",
}


class Program:
    """A program with a terminal of its own, `size` = (rows, columns).

    `env` is added to a small, fixed environment. `raw` holds every byte that the program sent.
    """

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, size: tuple[int, int] = (24, 80)
    ) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}
        environment |= {"TERM": "xterm-256color", **(env or {})}
        self.raw = b""
        self._ended = False
        self._screen = _Emulator(size[1], size[0])
        self._stream = pyte.ByteStream(self._screen)
        self._terminal, inside = os.openpty()
        termios.tcsetwinsize(self._terminal, size)
        self._child: subprocess.Popen[bytes] | Fork
        if can_fork(argv):
            self._child = Fork(argv, env=environment, terminal=inside)
            os.close(inside)
            return
        self._child = subprocess.Popen(
            argv,
            env=environment,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C and /dev/tty work
        )
        os.close(inside)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.wait()
        self.hang_up()

    @property
    def pid(self) -> int:
        return self._child.pid

    def send(self, text: str | bytes) -> None:
        """Type text, or send bytes as they are."""
        data = text.encode() if isinstance(text, str) else text
        while data:
            # The terminal takes a few kilobytes at a time; a program that is busy drawing has to be listened to.
            if select.select([], [self._terminal], [], 0.01)[1]:
                data = data[os.write(self._terminal, data[:1024]) :]
            else:
                self._read(0)

    def press(self, *keys: str) -> None:
        """Press keys by the names in KEYS; any other text is typed."""
        self.send("".join(KEYS.get(key, key) for key in keys))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program."""
        os.kill(self.pid, number)

    def resize(self, rows: int, columns: int) -> None:
        """Change the terminal's size, as somebody does who drags the window."""
        self._read(0)
        self._screen.resize(rows, columns)
        termios.tcsetwinsize(self._terminal, (rows, columns))

    def hang_up(self) -> None:
        """Close the terminal's other end and leave the program to itself."""
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1

    @property
    def lines(self) -> list[str]:
        """The screen's lines without trailing blanks, down to the last one that is not empty."""
        return self.text.split("\n")

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip("\n")

    @property
    def cursor(self) -> tuple[int, int]:
        """Row and column, from 0."""
        return self._screen.cursor.y, self._screen.cursor.x

    @property
    def cursor_hidden(self) -> bool:
        return bool(self._screen.cursor.hidden)

    def colour_at(self, row: int, column: int) -> str:
        """pyte's name of the colour of a character."""
        return str(self._screen.buffer[row][column].fg)

    def wait_for(self, expected: str | Callable[[], bool], timeout: float = DEADLINE) -> None:
        """Read until the screen contains a text, or until a condition holds.

        AssertionError after `timeout` seconds, or when the program has ended.
        """
        holds, glance = (expected, GLANCE) if callable(expected) else (lambda: expected in self.text, timeout)
        deadline = time.monotonic() + timeout
        while not holds():
            self._read(min(glance, deadline - time.monotonic()))
            if (self._ended or time.monotonic() >= deadline) and not holds():
                raise AssertionError(f"waited for {expected!r}, the screen says:\n{self.text}")

    def wait_for_screen(self, text: str, timeout: float = DEADLINE) -> None:
        """Read until the screen says `text` and nothing else; trailing blanks and empty lines do not count."""
        wanted = "\n".join(line.rstrip() for line in text.split("\n")).rstrip("\n")
        try:
            self.wait_for(lambda: self.text == wanted, timeout)
        except AssertionError:
            assert self.text == wanted
            raise

    def wait(self, timeout: float = DEADLINE) -> int:
        """Read until the program ends. Its exit status, or minus the signal that ended it."""
        deadline = time.monotonic() + timeout
        while self._read(deadline - time.monotonic()):
            pass
        return self._child.wait(max(deadline - time.monotonic(), 0.1))

    def _read(self, timeout: float) -> bool:
        """Take in what the program sent; False at its end or when nothing came in time."""
        if self._terminal < 0:
            self._ended = True
            return False
        if not select.select([self._terminal], [], [], max(timeout, 0))[0]:
            return False
        data = b""
        with suppress(OSError):  # EIO: the program has closed its end
            data = os.read(self._terminal, 65536)
        self.raw += data
        self._stream.feed(data)
        self._ended = not data
        return bool(data)


class _Emulator(pyte.Screen):
    """pyte moves the lines but not the cursor when it shrinks; terminals keep both together."""

    def resize(self, lines: int | None = None, columns: int | None = None) -> None:
        lines, columns = lines or self.lines, columns or self.columns
        surplus = max(self.cursor.y - lines + 1, 0)
        kept = {row - surplus: line for row, line in self.buffer.items() if 0 <= row - surplus < lines}
        self.buffer.clear()
        self.buffer.update(kept)
        for line in self.buffer.values():
            for column in [column for column in line if column >= columns]:
                del line[column]
        self.lines, self.columns = lines, columns
        self.cursor.y -= surplus
        self.cursor.x = min(self.cursor.x, columns - 1)
        self.set_margins()
        self.dirty.update(range(lines))


class Terminal:
    """A stream that is a terminal, and what its screen says."""

    def __init__(self) -> None:
        self._outer, inner = pty.openpty()
        self.stream: TextIO = os.fdopen(inner, "w")
        self._screen = pyte.Screen(80, 24)

    def lines(self) -> list[str]:
        self.stream.flush()
        # What was written takes the system a moment to hand on.
        while select.select([self._outer], [], [], 0.1)[0]:
            pyte.ByteStream(self._screen).feed(os.read(self._outer, 65536))
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip("\n").split("\n")

    def close(self) -> None:
        self.stream.close()
        os.close(self._outer)
