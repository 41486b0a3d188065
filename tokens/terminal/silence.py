"""A keyboard whose keys do not show up: while nobody is asked anything, or while a secret is typed."""

import termios
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

DISABLED = b"\0"  # for a key that sends a signal


@contextmanager
def muted_keyboard(stdin: TextIO | None) -> Iterator[None]:
    """Keep keys from showing up on the screen during this; without a terminal nothing is done.

    Of the keys that send a signal only Ctrl-C works: Ctrl-Z would suspend us with rows locked.
    """
    with _without(stdin, termios.ECHO | termios.ICANON, (termios.VSUSP, termios.VQUIT)):
        yield


@contextmanager
def hidden_answer(stdin: TextIO | None) -> Iterator[None]:
    """Keep a line from showing up on the screen while it is typed or pasted; without a terminal nothing is done.

    What was pasted beyond that line is thrown away: a shell would take it for commands, and remember them.
    """
    with _without(stdin, termios.ECHO, (termios.VSUSP,), after=termios.TCSAFLUSH):
        yield


@contextmanager
def _without(stdin: TextIO | None, flags: int, keys: Iterable[int], after: int = termios.TCSADRAIN) -> Iterator[None]:
    try:
        if stdin is None:
            raise ValueError
        before = termios.tcgetattr(stdin)
    except (termios.error, ValueError, OSError):
        yield
        return
    muted = termios.tcgetattr(stdin)
    muted[3] &= ~flags
    for key in keys:
        muted[6][key] = DISABLED
    termios.tcsetattr(stdin, termios.TCSADRAIN, muted)
    try:
        yield
    finally:
        with suppress(termios.error):  # the terminal may be gone by now
            termios.tcsetattr(stdin, after, before)
