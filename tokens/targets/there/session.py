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

    `heard` is whether any came.
    """

    def __init__(self, run: str, output: BinaryIO | None) -> None:
        self._output = output
        self._mark = re.compile(rf"{run} (\d{{3}})".encode())
        self._length = len(run) + 4
        self._held = b""
        self.heard = False

    def pump(self, source: IO[bytes]) -> None:
        """Until `source` ends; may be called again after an interruption."""
        while data := os.read(source.fileno(), 1 << 16):
            self.heard = True
            self._held += data
            self._write(self._held[: -self._length])
            self._held = self._held[-self._length :]

    def finish(self) -> int | None:
        """The exit status in the mark; None if the output is not complete, of which nothing is kept back."""
        if mark := self._mark.fullmatch(self._held):
            return int(mark[1])
        self._write(self._held)
        return None

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
