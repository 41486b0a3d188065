"""A process that is stopped at a known place, and what all processes show of themselves."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


class Gate:
    """A place in a shell command where it waits for the test."""

    def __init__(self, folder: Path) -> None:
        self._reached, self._opened = folder / "reached", folder / "opened"
        os.mkfifo(self._reached)
        os.mkfifo(self._opened)

    def __str__(self) -> str:
        return f"echo > {self._reached}; read go < {self._opened}"

    def wait(self) -> None:
        """Until the command is there."""
        self._reached.read_text()

    def open(self) -> None:
        """Let it go on."""
        self._opened.write_text("go\n")


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def is_pending(pid: int, number: signal.Signals) -> bool:
    """Whether a signal has come that no thread of the process has taken yet."""
    bits = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        with suppress(OSError):  # it has ended since
            fields = dict(line.split(":\t") for line in status.read_text().splitlines())
            bits |= int(fields["SigPnd"], 16) | int(fields["ShdPnd"], 16)
    return bool(bits >> number - 1 & 1)


def process_list() -> str:
    """The words and the environment of every process."""
    text = ""
    for name in ("cmdline", "environ"):
        for path in Path("/proc").glob(f"[0-9]*/{name}"):
            with suppress(OSError):  # it has ended since
                text += path.read_bytes().decode(errors="replace")
    return text
