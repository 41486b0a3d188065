"""The steps of a piece of work that somebody waits for, a line each."""

from typing import TextIO


class Steps:
    """Says on `stream` what is being done; on a terminal also how far a step is."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._step = ""

    def show(self, step: str, done: int | None = None, total: int | None = None) -> None:
        """Name the step, once, and count `done` of `total` in its line where that can be redrawn."""
        if self._stream is None:  # the caller has closed it
            return
        redrawn = done is not None and total is not None and self._stream.isatty()
        if step != self._step:
            self._stream.write(f"{step}...\n")
        if redrawn:
            self._stream.write(f"\x1b[A\r\x1b[K{step}... {done:,} of {total:,}\n")
        self._stream.flush()
        self._step = step
