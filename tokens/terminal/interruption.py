"""Signals as a wish to stop, while work is under way that should end at a safe point."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class StopRequest:
    """Whether somebody asked to stop, and how."""

    by: signal.Signals | None = None

    def made(self) -> bool:
        """Whether a signal has come."""
        return self.by is not None


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Note Ctrl-C, SIGTERM and a closed terminal instead of obeying at once; a second Ctrl-C interrupts."""
    request = StopRequest()

    def note(number: int, _: FrameType | None) -> None:
        if request.made() and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.by = request.by or signal.Signals(number)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
