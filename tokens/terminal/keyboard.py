"""The keyboard: keys one at a time, for a question."""

import os
import select
import termios
import time
from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto

from prompt_toolkit.input import Input
from prompt_toolkit.input.typeahead import clear_typeahead, get_typeahead, store_typeahead
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys

POLL = 0.1  # seconds between two calls of whoever wants to be called while nobody types
SEQUENCE_PAUSE = 1.0  # seconds after which the rest of an escape sequence or paste is not expected any more


class _Sequence(Enum):
    """What kind of escape sequence the next characters belong to."""

    NONE = auto()
    ESCAPE = auto()
    CONTROL = auto()  # ESC [ parameters letter
    SHIFT = auto()  # ESC O letter
    STRING = auto()  # ESC ] text BEL, and the like


_INTRODUCERS = {
    "[": _Sequence.CONTROL,
    "O": _Sequence.SHIFT,
    **dict.fromkeys("]P_^X", _Sequence.STRING),
    "\\": _Sequence.NONE,
}

# Keys that are escape sequences. All others of that kind, Ctrl-Enter or Alt-Up for example, are none of ours, though
# prompt_toolkit names some of them after the plain key.
_NAVIGATION = {
    *(Keys.Up, Keys.Down, Keys.Left, Keys.Right),
    *(Keys.PageUp, Keys.PageDown, Keys.Home, Keys.End, Keys.Delete),
}

_NOTHING = KeyPress(Keys.Ignore, "")


class Keyboard:
    """Keys one at a time, and no key for what is not one: reports, unknown sequences, torn pastes."""

    def __init__(self, source: Input) -> None:
        self._source = source
        self._keys: deque[KeyPress] = deque()
        self._parser = Vt100Parser(self._sift)
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._sequence = _Sequence.NONE
        self._last_read: float | None = None

    @contextmanager
    def raw(self) -> Iterator[None]:
        """The terminal hands over keys as they are typed, and does not act on them or echo them."""
        self._keys.extend(get_typeahead(self._source))
        try:
            with self._source.raw_mode():
                yield
        finally:
            store_typeahead(self._source, list(self._keys))
            self._keys.clear()

    def next(self, idle: Callable[[], None]) -> KeyPress:
        """The next key; `idle` is called now and then while nobody types.

        A key of no use comes as `Keys.Ignore`. Raises KeyboardInterrupt for Ctrl-C, EOFError at the end of the input.
        """
        while not self._keys:
            idle()
            self._read()
        key = self._keys.popleft()
        if key.key == Keys.ControlC:
            raise KeyboardInterrupt
        return key

    def discard(self) -> None:
        """Forget what was typed, in the terminal's queue and in ours."""
        descriptor = self._source.fileno()
        try:
            termios.tcflush(descriptor, termios.TCIFLUSH)
        except termios.error:
            while select.select([descriptor], [], [], 0)[0] and os.read(descriptor, 4096):
                pass
        clear_typeahead(self._source)
        self._decoder.reset()
        self._forget_sequence()
        self._keys.clear()

    def _read(self) -> None:
        descriptor = self._source.fileno()
        if not select.select([descriptor], [], [], POLL)[0]:
            if self._last_read is not None and time.monotonic() - self._last_read > SEQUENCE_PAUSE:
                self._forget_sequence()
            return
        try:
            data = os.read(descriptor, 4096)
        except BlockingIOError:  # Another process on this terminal made it non-blocking and was faster.
            return
        if not data:
            raise EOFError("the terminal is gone")
        self._last_read = time.monotonic()
        self._parser.feed(self._decoder.decode(data))
        if not self._keys:
            self._keys.append(_NOTHING)

    def _forget_sequence(self) -> None:
        # Without the reset a paste that lost its end mark would swallow everything after it, Ctrl-C included.
        self._parser.flush()
        self._parser.reset()
        self._sequence = _Sequence.NONE
        self._last_read = None

    def _sift(self, key: KeyPress) -> None:
        """Take what the parser found; an escape sequence unknown to it arrives as Escape and single characters."""
        sequence, self._sequence = self._sequence, _Sequence.NONE
        if key.key == Keys.BracketedPaste:
            self._keys.append(key)
        elif key.key == Keys.Escape and key.data == "\x1b":
            self._sequence = _Sequence.ESCAPE
        elif key.data == "":
            pass  # The second half of a chord such as Alt-Up.
        elif key.data.startswith("\x1b"):
            self._keys.append(key if key.key in _NAVIGATION else _NOTHING)
        elif len(key.key) > 1 or sequence is _Sequence.NONE:
            self._keys.append(key)
        elif sequence is _Sequence.ESCAPE:
            if key.key in _INTRODUCERS:
                self._sequence = _INTRODUCERS[key.key]
            else:
                self._keys.append(key)
        elif sequence is _Sequence.STRING or not "@" <= key.key <= "~":
            self._sequence = sequence
