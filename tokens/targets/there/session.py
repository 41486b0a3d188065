"""One run of docker or kubectl on this process's own streams, in such a way that no signal leaves anything behind."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, BinaryIO

from tokens.targets.there.client import find_program

LAST_WORDS = 20  # seconds that a process there has to end after a signal
CLOSING = 1  # seconds for the end of a client's standard error, which a process that it leaves behind may hold open

# How the clients' own errors begin, and what in them proves that nothing was started there.
REFUSED_BY_DOCKER = b"OCI runtime exec failed: "
COMPLAINTS = (b"error: ", b"Error: ", b"Error from server", b"Error response from daemon", REFUSED_BY_DOCKER)
NOT_STARTED = re.compile(
    r"Error from server \(Forbidden\): |error executing command in container: |OCI runtime exec failed: "
    r"|executable file \S+ not found"
)
LONGEST_COMPLAINT = 4096


def is_not_started(complaint: str) -> bool:
    """Whether these last words of a client say that nothing was started there."""
    return NOT_STARTED.search(complaint) is not None


class Relay:
    """Passes a client's output on to `output` as it comes, but for the mark of this `run` at its very end.

    Only what may be the mark is held back: else a line of standard error would come into the middle of another, if
    both go to one place. `heard` is whether any output came. `complaint` is what docker says in its place: it has
    standard output for why nothing was started.
    """

    def __init__(self, run: str, output: BinaryIO | None) -> None:
        self._output = output
        self._before = f"{run} ".encode()
        self._mark = re.compile(rf"{run} (\d{{3}})".encode())
        self._held = b""
        self._has_written = False
        self.heard = False
        self.complaint = ""

    def pump(self, source: IO[bytes]) -> None:
        """Until `source` ends; may be called again after an interruption."""
        while data := os.read(source.fileno(), 1 << 16):
            self.heard = True
            known = self._held + data
            if not self._has_written and known.startswith(REFUSED_BY_DOCKER) and len(known) < LONGEST_COMPLAINT:
                self._held = known
                continue
            end = self._length_of_mark(known)
            self._held = known[len(known) - end :]
            self._write(known[: len(known) - end])

    def finish(self) -> int | None:
        """The exit status in the mark; None if the output is not complete. All but a complaint is passed on then."""
        if mark := self._mark.fullmatch(self._held):
            return int(mark[1])
        if self._held.startswith(REFUSED_BY_DOCKER):
            self.complaint = self._held.decode(errors="replace").strip()
        else:
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
        self._has_written = self._has_written or bool(data)
        if data and self._output is not None:
            self._output.write(data)
            self._output.flush()


class Complaints:
    """Passes a client's standard error on to `errors` as it comes, but for a last line that may be the client's own.

    That is said in our words then, or passed on after all.
    """

    def __init__(self, errors: BinaryIO | None) -> None:
        self._errors = errors
        self._held = b""
        self._at_start = True  # of a line
        self._thread: threading.Thread | None = None

    def listen(self, source: IO[bytes]) -> None:
        """Pass on what comes from now on, until `source` ends."""
        # A descriptor of its own: `source` is closed when the client has ended, and its other end may be open still.
        self._thread = threading.Thread(target=self._pump, args=(os.dup(source.fileno()),), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait for all that a client has said which has ended."""
        if self._thread is not None:
            self._thread.join(CLOSING)

    @property
    def last(self) -> str:
        """The last line, if the client itself may have said it."""
        return self._held.decode(errors="replace").strip()

    def release(self) -> None:
        """Pass on what was held back."""
        self._write(self._held)
        self._held = b""

    def _pump(self, descriptor: int) -> None:
        try:
            while data := os.read(descriptor, 1 << 16):
                known = self._held + data
                end = self._length_of_complaint(known)
                self._held = known[len(known) - end :]
                self._write(known[: len(known) - end])
        finally:
            os.close(descriptor)

    def _length_of_complaint(self, known: bytes) -> int:
        """How many bytes at the end may be a client's own line, or its beginning."""
        begin = known.rstrip(b"\n").rfind(b"\n") + 1
        line = known[begin:]
        is_line = begin > 0 or bool(self._held) or self._at_start
        may_be = is_line and any(line.startswith(one) or one.startswith(line) for one in COMPLAINTS)
        return len(line) if may_be and len(line) < LONGEST_COMPLAINT else 0

    def _write(self, data: bytes) -> None:
        if not data:
            return
        self._at_start = data.endswith(b"\n")
        if self._errors is not None:
            with suppress(OSError, ValueError):  # nobody listens; that must not end what is under way
                self._errors.write(data)
                self._errors.flush()


def attend(
    command: Sequence[str],
    stop: Callable[[signal.Signals], None],
    relay: Relay | None = None,
    complaints: Complaints | None = None,
) -> int:
    """Run a client until its session ends, and return its exit status, which proves nothing.

    It writes to this process's own streams, in which nothing may be buffered by then.

    Args:
        command: docker's or kubectl's command line.
        stop: sends a signal to the process there, which then ends as it wishes.
        relay: gets the client's output; without one the client has our terminal.
        complaints: gets its standard error; without any it has ours.

    Raises:
        ClientError: the program is not installed.
    """
    program = find_program(command[0])
    # Ctrl-C would end a client in our process group, and leave the process there unheard. But where there is a terminal
    # the client may have to ask on it, for a passphrase say, which it can in our group only.
    alone = relay is not None and not any(map(os.isatty, range(3)))
    with subprocess.Popen(
        [program, *command[1:]],
        stdin=subprocess.DEVNULL if relay else None,
        stdout=subprocess.PIPE if relay else None,
        stderr=subprocess.PIPE if complaints else None,
        process_group=0 if alone else None,
    ) as client:
        try:
            if complaints is not None and client.stderr is not None:
                complaints.listen(client.stderr)
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
            if complaints is not None:
                complaints.finish()


def _end(client: "subprocess.Popen[bytes]", relay: Relay | None) -> int:
    if relay is not None and client.stdout is not None:
        relay.pump(client.stdout)
    return client.wait()
