"""The processes of a delivery, known by their environment: it stays with them when their parent dies."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = "TOKENS_DELIVERY"
"""The variable that every process of a delivery has, with one value for each attempt; no other command has it."""

PROCESSES = Path("/proc")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def still_running(run: int, old_id: int, planned_at: str | None = None) -> tuple[int, ...]:
    """The ids of processes on this machine that deliver the successor of token `old_id` in run `run`, or have begun to.

    `planned_at` is when the run was planned, which tells it from one of another GitLab; None takes either.

    Whatever a delivery has left in the background counts, a daemon too: nobody can tell that it has no use any more for
    the token. None is found where no process can be looked at: there is no /proc, it is another account's, or it is in
    another container.
    """
    facts = {f"TOKENS_RUN={run}".encode(), f"TOKENS_OLD_ID={old_id}".encode()}
    mark = f"{MARK}={'' if planned_at is None else f'{planned_at} '}".encode()
    found = []
    for process in _processes():
        environment = _environment(process)
        if facts <= environment and any(entry.startswith(mark) for entry in environment):
            found.append(process)
    return tuple(found)


def kill(mark: str | None, shell: subprocess.Popen[bytes] | None = None) -> None:
    """Kill every process of the delivery with this mark, and the shell of a command and all that comes from it.

    What other accounts have (sudo) stays, and so does what has neither the mark nor a parent of the command's any more.
    """
    with _undisturbed():
        found: set[int] = set()
        # First they are all stopped: a process that is killed leaves its children to init, and one that runs on may
        # start another meanwhile.
        while new := _family(mark, None if shell is None else shell.pid) - found:
            for process in new:
                _send(process, signal.SIGSTOP)
            found |= new
        for process in found:
            _send(process, signal.SIGKILL)
    if shell is not None:
        shell.kill()  # where there is no /proc
        shell.wait()


def _family(mark: str | None, shell: int | None) -> set[int]:
    """The processes with the mark, the shell, and the descendants of them all."""
    entry = f"{MARK}={mark}".encode()
    parents: dict[int, int] = {}
    family = set() if shell is None else {shell}
    for process in _processes():
        with suppress(OSError, ValueError, IndexError):
            # proc(5), stat: the name, which may have blanks and brackets of its own, the state, the parent
            parents[process] = int((PROCESSES / str(process) / "stat").read_bytes().rpartition(b")")[2].split()[1])
            if mark is not None and entry in _environment(process):
                family.add(process)
    while children := {process for process, parent in parents.items() if parent in family} - family:
        family |= children
    return family & parents.keys()


def _processes() -> Iterator[int]:
    """All that are to be seen, this one apart."""
    with suppress(OSError):
        for name in sorted((name for name in os.listdir(PROCESSES) if name.isdecimal()), key=int):
            if int(name) != os.getpid():
                yield int(name)


def _environment(process: int) -> set[bytes]:
    """What a process was started with; nothing where it has ended, which a zombie has, too, or may not be looked at."""
    try:
        return set((PROCESSES / str(process) / "environ").read_bytes().split(b"\0"))
    except OSError:
        return set()


def _send(process: int, number: signal.Signals) -> None:
    with suppress(OSError):
        os.kill(process, number)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no further Ctrl-C leave half of them stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main thread alone
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
