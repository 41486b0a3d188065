"""The steps of a piece of work that somebody waits for, a line each."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from tokens.terminal import console

ERASE = "\r\x1b[K"


@contextmanager
def announced(step: str, stream: TextIO | None, *, stays: bool = False) -> Iterator[None]:
    """Name on `stream` what takes longer than `console.patience()` seconds; a terminal forgets it at the end.

    Nothing else may be written to the terminal in that time, unless it `stays` there, as a line of its own.
    """
    seconds = console.patience()
    ended = threading.Event()
    erased = console.can_redraw(stream) and not stays
    shown = False

    def show() -> None:
        nonlocal shown
        # Signals are the main thread's: it waits for the database, and has to be woken.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        if stream is not None and not ended.wait(seconds):
            shown = True
            _write(stream, f"{step}..." if erased else f"{step}...\n")

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if shown and erased:
            _write(stream, ERASE)


def _write(stream: TextIO | None, text: str) -> None:
    """Write at once, if anybody reads it; it must not end what is under way."""
    if stream is None:
        return
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        console.discard(stream)


class Steps:
    """Says on `stream` what is being done; on a terminal also how far a step is."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._step = ""

    def show(self, step: str, done: int | None = None, total: int | None = None) -> None:
        """Name the step, once, and count `done` of `total` in its line where that can be redrawn."""
        if self._stream is None:  # the caller has closed it
            return
        redrawn = done is not None and total is not None and console.can_redraw(self._stream)
        if step != self._step:
            self._stream.write(f"{step}...\n")
        if redrawn:
            self._stream.write(f"\x1b[A\r\x1b[K{step}... {done:,} of {total:,}\n")
        self._stream.flush()
        self._step = step
