"""Signals: as an exception while somebody is asked, as a wish to stop while work is under way."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

TERMINATION = (signal.SIGTERM, signal.SIGHUP)
INTERRUPTION = (signal.SIGINT, *TERMINATION)
IN_ORDER = 10.0  # seconds that a second Ctrl-C has to put in order what is under way, before a further one counts
START = "tokens.start"  # the module whose handler is for the time before any task begins

Handler = Callable[[int, FrameType | None], None]


class Termination(KeyboardInterrupt):
    """SIGTERM or a closed terminal; a KeyboardInterrupt, because the driver cancels its query for those alone."""


@dataclass
class StopRequest:
    """Whether somebody asked to stop, and how."""

    by: signal.Signals | None = None

    def made(self) -> bool:
        """Whether a signal has come."""
        return self.by is not None


@contextmanager
def termination_as_error() -> Iterator[None]:
    """Let SIGTERM and a closed terminal raise Termination, so that everything is put in order on the way out."""

    def terminate(number: int, _: FrameType | None) -> NoReturn:
        raise Termination(f"Terminated by {signal.Signals(number).name}.")

    with _handling(TERMINATION, terminate):
        yield


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt again where it has ended the process at once until now (`tokens.start`)."""
    hasty = getattr(signal.getsignal(signal.SIGINT), "__module__", None) == START
    with _handling((signal.SIGINT,), signal.default_int_handler) if hasty else nullcontext():
        yield


@contextmanager
def stop_requests(explain: Callable[[], None] = lambda: None) -> Iterator[StopRequest]:
    """Note Ctrl-C, SIGTERM and a closed terminal instead of obeying at once; a second Ctrl-C interrupts.

    A further one changes nothing for some seconds, so what the second one has begun comes to its end. `explain` is
    called at the first signal if that is Ctrl-C, in the middle of what is under way.
    """
    request = StopRequest()
    interrupted = -IN_ORDER

    def note(number: int, _: FrameType | None) -> None:
        nonlocal interrupted
        if not request.made():
            request.by = signal.Signals(number)
            if number == signal.SIGINT:
                explain()
        elif number == signal.SIGINT and time.monotonic() - interrupted >= IN_ORDER:
            interrupted = time.monotonic()
            raise KeyboardInterrupt

    with _handling(INTERRUPTION, note):
        yield request


@contextmanager
def _handling(signals: tuple[signal.Signals, ...], handler: Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets only the main thread handle signals
        return
    # What the caller had ignored stays ignored: nohup means it.
    wanted = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in wanted}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)
