"""Processes of our programs that need not start Python: one that has imported everything forks for each of them.

They are processes like any other, with a terminal, signals and an end of their own; the third of a second that imports
take is spent once. What Python does until it comes to the program's first line is not in them: tests/test_start.py and
whoever uses `call` starts it whole.

The process that forks gets a request (JSON: words, environment, folder) with two descriptors: the terminal, and a pipe
to say the number of the new process on, and how it ended.
"""

import fcntl
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress

from tests.testbed.program import ASK, CHECKOUT, GITLAB_TOKENS, INV

MOST = 1 << 17  # bytes of a request
IMPORTED = (
    "tokens.program",
    "tokens.commands.analyze",
    "tokens.commands.edit",
    "tokens.commands.carry_out",
    "tokens.commands.rotate",
    "tokens.terminal.prompts",
)

_forking: tuple[subprocess.Popen[bytes], socket.socket] | None = None
_one_at_a_time = threading.Lock()


class Fork:
    """A running program: what is needed here of subprocess.Popen."""

    def __init__(self, words: Sequence[str], *, env: Mapping[str, str], terminal: int) -> None:
        assert can_fork(words)
        self._said, saying = os.pipe()
        request = json.dumps([list(words), dict(env), os.getcwd()]).encode()
        with _one_at_a_time:
            socket.send_fds(_forker(), [request], [terminal, saying])
        os.close(saying)
        self.pid = int(self._line())
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, or minus the signal that ended it; a TimeoutExpired if it runs on."""
        if self.returncode is None:
            if not select.select([self._said], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a fork", timeout or 0)
            self.returncode = int(self._line())
            os.close(self._said)
        return self.returncode

    def kill(self) -> None:
        """End it, if it runs."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(self._said, 1) or b"\n"
        return line


def can_fork(words: Sequence[str]) -> bool:
    """Whether this is one of our two programs, or the one that asks questions."""
    return words[0] in (GITLAB_TOKENS, INV, ASK)


def _forker() -> socket.socket:
    """The other end of the process that forks, which begins with the first request and ends with this process."""
    global _forking
    if _forking is None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", __name__, str(its.fileno())]
        process = subprocess.Popen(command, cwd=CHECKOUT, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL)
        its.close()
        _forking = process, ours
    return _forking[1]


def _serve(requests: socket.socket) -> list[str] | None:
    """Fork for each request. In the new process its words; None when nobody asks any more."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}  # a process, and where to say how it ended
    while True:
        ready, _, _ = select.select([requests.fileno(), reading], [], [])
        if reading in ready:
            os.read(reading, 4096)
            for process in list(running):
                ended, status = os.waitpid(process, os.WNOHANG)
                if ended:
                    _say(running.pop(process), os.waitstatus_to_exitcode(status))
        if requests.fileno() not in ready:
            continue
        request, descriptors, _, _ = socket.recv_fds(requests, MOST, 2)
        if not request:
            return None
        terminal, saying = descriptors
        words, environment, folder = json.loads(request)
        process = os.fork()
        if process == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (requests.detach(), reading, writing, saying, *running.values()):
                os.close(descriptor)
            _become(terminal, environment, folder)
            return list(words)
        os.close(terminal)
        running[process] = saying
        os.write(saying, f"{process}\n".encode())


def _say(descriptor: int, status: int) -> None:
    with suppress(BrokenPipeError):  # whoever asked has gone
        os.write(descriptor, f"{status}\n".encode())
    os.close(descriptor)


def _become(terminal: int, environment: Mapping[str, str], folder: str) -> None:
    """Let this process be one that has just been started on this terminal."""
    os.setsid()
    for number in range(3):
        os.dup2(terminal, number)
    os.close(terminal)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    # As Python's finalization takes them for its own.
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]


def _main() -> None:
    requests = socket.socket(fileno=int(sys.argv[1]))
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # else each process looks through all of it once more before it ends
    words = _serve(requests)
    if words is None:
        return
    sys.argv = words
    if words[0] == INV:
        from invoke.main import program

        program.run()
    elif words[0] == ASK:
        warnings.simplefilter("error")
        runpy.run_path(ASK, run_name="__main__")
    else:
        from tokens.start import main  # its handlers are in place from here on

        main()


if __name__ == "__main__":
    _main()
