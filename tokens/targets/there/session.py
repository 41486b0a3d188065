"""One run of docker or kubectl on this process's own streams, in such a way that no signal leaves anything behind."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import IO, BinaryIO

from tokens.targets.there.client import find_program

LAST_WORDS = 20  # seconds that a process there has to end after a signal


class Relay:
    """Passes a client's output on to `output` as it comes, but for the mark of this `run` at its very end.

    Only what may be the mark is held back: else a line of standard error would come into the middle of another, if
    both go to one place. `heard` is whether any output came.
    """

    def __init__(self, run: str, output: BinaryIO | None) -> None:
        self._output = output
        self._before = f"{run} ".encode()
        self._mark = re.compile(rf"{run} (\d{{3}})".encode())
        self._held = b""
        self.heard = False

    def pump(self, source: IO[bytes]) -> None:
        """Until `source` ends; may be called again after an interruption."""
        while data := os.read(source.fileno(), 1 << 16):
            self.heard = True
            known = self._held + data
            end = self._length_of_mark(known)
            self._held = known[len(known) - end :]
            self._write(known[: len(known) - end])

    def finish(self) -> int | None:
        """The exit status in the mark; None if the output is not complete, of which nothing is kept back."""
        if mark := self._mark.fullmatch(self._held):
            return int(mark[1])
        self._write(self._held)
        return None

    def _length_of_mark(self, known: bytes) -> int:
        """How many bytes at the end may be the mark, or its beginning."""
        longest = len(self._before) + 3
        for length in range(min(longest, len(known)), 0, -1):
            end = known[-length:]
            status = end[len(self._before) :]
            if self._before.startswith(end[: len(self._before)]) and (not status or status.isdigit()):
                return length
        return 0

    def _write(self, data: bytes) -> None:
        if data and self._output is not None:
            self._output.write(data)
            self._output.flush()


def attend(command: Sequence[str], stop: Callable[[signal.Signals], None], relay: Relay | None = None) -> int:
    """Run a client until its session ends, and return its exit status, which proves nothing.

    It writes to this process's own streams, in which nothing may be buffered by then.

    Args:
        command: docker's or kubectl's command line.
        stop: sends a signal to the process there, which then ends as it wishes.
        relay: gets the client's output; without one the client has our terminal.

    Raises:
        ClientError: the program is not installed.
    """
    program = find_program(command[0])
    # Ctrl-C would end a client in our process group, and leave the process there unheard. But where there is a terminal
    # the client may have to ask on it, for a passphrase say, which it can in our group only.
    alone = relay is not None and not any(map(os.isatty, range(3)))
    streams = (subprocess.DEVNULL, subprocess.PIPE) if relay else (None, None)
    with subprocess.Popen(
        [program, *command[1:]], stdin=streams[0], stdout=streams[1], process_group=0 if alone else None
    ) as client:
        try:
            return _end(client, relay)
        except KeyboardInterrupt as interruption:
            # A closed terminal or SIGTERM comes as a subclass.
            stop(signal.SIGINT if type(interruption) is KeyboardInterrupt else signal.SIGTERM)
            enough = threading.Timer(LAST_WORDS, client.kill)
            enough.start()
            try:
                status = _end(client, relay)
            finally:
                enough.cancel()
            if status < 0 or (relay is not None and not alone):
                raise
            return status
        finally:
            if client.poll() is None:
                client.kill()


def _end(client: "subprocess.Popen[bytes]", relay: Relay | None) -> int:
    if relay is not None and client.stdout is not None:
        relay.pump(client.stdout)
    return client.wait()
