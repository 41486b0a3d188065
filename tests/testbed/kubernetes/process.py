"""A process of this machine and its pipes or terminal, read and written without waiting for either."""

import asyncio
import ctypes
import fcntl
import os
import signal
import struct
import subprocess
import termios
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36


class Channel(IntEnum):
    """What goes between an exec's client and its process, by the number that it has on a WebSocket."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    ERROR = 3
    RESIZE = 4


class Process:
    """A command, started in a session of its own; OSError if it cannot be.

    With `tty` it has a terminal (0 by 0 until `resize`), otherwise pipes, and nothing to read unless `stdin`.
    """

    def __init__(self, command: tuple[str, ...], env: dict[str, str], *, tty: bool, stdin: bool) -> None:
        self._tty = tty
        self._ours, theirs = _open_streams(tty, stdin)
        try:
            started = subprocess.Popen(
                command,
                env=env,
                cwd="/",
                stdin=theirs[0],
                stdout=theirs[1],
                stderr=theirs[2],
                start_new_session=True,
                preexec_fn=_claim_terminal if tty else None,
            )
        except BaseException:
            self.close()
            raise
        finally:
            for descriptor in set(theirs):
                os.close(descriptor)
        for descriptor in self._ours.values():
            os.set_blocking(descriptor, False)
        self.pid = started.pid
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        _running[self.pid] = started, self.ended

    async def read(self, channel: Channel) -> bytes:
        """The next output; nothing at its end, or when the process has ended and left no more."""
        while True:
            over = self.ended.done()
            try:
                return os.read(self._ours[channel], 32768)
            except BlockingIOError:
                if over:  # what it has started may live on and hold the pipe: that is not waited for
                    return b""
            except OSError:  # EIO: the terminal's other end is closed
                return b""
            loop = asyncio.get_running_loop()
            await self._ready(loop.add_reader, loop.remove_reader, self._ours[channel])

    async def write(self, data: bytes) -> None:
        """Give it all of this to read; the rest is dropped once nobody can read it any more."""
        loop = asyncio.get_running_loop()
        rest = memoryview(data)
        while rest and Channel.STDIN in self._ours and not self.ended.done():
            try:
                rest = rest[os.write(self._ours[Channel.STDIN], rest) :]
            except BlockingIOError:
                await self._ready(loop.add_writer, loop.remove_writer, self._ours[Channel.STDIN])
            except OSError:
                return

    def end_input(self) -> None:
        """Let it read an end of file; a terminal has none."""
        if not self._tty and Channel.STDIN in self._ours:
            os.close(self._ours.pop(Channel.STDIN))

    def resize(self, columns: int, rows: int) -> None:
        if self._tty:
            fcntl.ioctl(self._ours[Channel.STDOUT], termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def close(self) -> None:
        for descriptor in set(self._ours.values()):
            os.close(descriptor)
        self._ours = {}

    async def _ready(
        self, add: Callable[[int, Callable[[], None]], None], remove: Callable[[int], object], descriptor: int
    ) -> None:
        """Wait until the descriptor can be used or the process has ended."""
        ready = asyncio.Event()
        add(descriptor, ready.set)
        waiting: asyncio.Future[Any] = asyncio.ensure_future(ready.wait())
        try:
            await asyncio.wait({waiting, self.ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            remove(descriptor)
            waiting.cancel()


def _open_streams(tty: bool, stdin: bool) -> tuple[dict[Channel, int], tuple[int, int, int]]:
    """Our ends by channel, and the process's standard input, output and error."""
    if tty:
        terminal, inside = os.openpty()
        return {Channel.STDIN: terminal, Channel.STDOUT: terminal}, (inside, inside, inside)
    ours = {}
    ours[Channel.STDOUT], output = os.pipe()
    ours[Channel.STDERR], error = os.pipe()
    if not stdin:
        return ours, (os.open(os.devnull, os.O_RDONLY), output, error)
    source, ours[Channel.STDIN] = os.pipe()
    return ours, (source, output, error)


def _claim_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


# Until `_reap` has seen their ends.
_running: dict[int, tuple["subprocess.Popen[bytes]", "asyncio.Future[int]"]] = {}


def own_all_descendants() -> None:
    """Adopt orphans, notice every end, and hand no ignored signal on. Once, in a running event loop's main thread."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, _reap)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def end_all_descendants() -> None:
    """Kill every process that was started here, and what they have started, in whatever session."""
    while children := _children():
        for child in children:
            os.kill(child, signal.SIGKILL)
            _note_end(*os.waitpid(child, 0))


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def _reap() -> None:
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            _note_end(*found)


def _note_end(pid: int, status: int) -> None:
    if pid not in _running:
        return  # an orphan
    started, ended = _running.pop(pid)
    started.returncode = os.waitstatus_to_exitcode(status)
    if not ended.done():
        ended.set_result(started.returncode if started.returncode >= 0 else 128 - started.returncode)
