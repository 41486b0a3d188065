"""A keyboard whose keys do not show up while nobody is asked anything."""

import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

DISABLED = b"\0"  # for a key that sends a signal


@contextmanager
def muted_keyboard(stdin: TextIO | None) -> Iterator[None]:
    """Keep keys from showing up on the screen during this; without a terminal nothing is done.

    Of the keys that send a signal only Ctrl-C works: Ctrl-Z would suspend us with rows locked.
    """
    try:
        if stdin is None:
            raise ValueError
        before = termios.tcgetattr(stdin)
    except (termios.error, ValueError, OSError):
        yield
        return
    muted = termios.tcgetattr(stdin)
    muted[3] &= ~(termios.ECHO | termios.ICANON)
    for key in (termios.VSUSP, termios.VQUIT):
        muted[6][key] = DISABLED
    termios.tcsetattr(stdin, termios.TCSADRAIN, muted)
    try:
        yield
    finally:
        with suppress(termios.error):  # the terminal may be gone by now
            termios.tcsetattr(stdin, termios.TCSADRAIN, before)
