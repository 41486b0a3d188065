"""The keyboard while no question is asked."""

import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def muted_keyboard() -> Iterator[None]:
    """Keep keys from showing up on the screen meanwhile; Ctrl-C still works. Without a terminal nothing is done."""
    try:
        before = termios.tcgetattr(sys.stdin)
    except (termios.error, ValueError, OSError):
        yield
        return
    muted = termios.tcgetattr(sys.stdin)
    muted[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, muted)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
