"""Folders that every account of this machine may pass through, in memory where there is room."""

import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CLOSED_CHECKOUT = "other accounts may not read this checkout, or no Python"
"""The one reason to skip that nobody can install away."""

_PREFIX = "tokens-run-"
_END_TIMEOUT = 10  # seconds
_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30  # bytes; three workers with their servers take about half of it


@contextmanager
def public_folder() -> Iterator[Path]:
    """A temporary folder that PostgreSQL's account may pass through; pytest's own ones are closed to it under root."""
    folder, lock = _locked_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        os.close(lock)


def remove_leftovers() -> None:
    """Delete the folders of runs that were killed, which would fill the memory; their servers end first."""
    for folder in left_behind(_PREFIX):
        lock = _locked(folder)
        if lock is None:
            continue
        if f" {folder}/" not in Path("/proc/self/mounts").read_text():  # a Docker engine may still be there
            for path in folder.rglob("postmaster.pid"):
                _end_server(path)
            shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked_folder() -> tuple[Path, int]:
    """A new folder, and the descriptor that locks it for as long as this process lives."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=temporary()))
        lock = _locked(folder)
        if lock is not None:
            folder.chmod(0o755)
            return folder, lock


def _locked(folder: Path) -> int | None:
    """A descriptor that locks the folder; None where somebody else has locked or deleted it."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    if folder.exists():
        return lock
    os.close(lock)
    return None


def _end_server(path: Path) -> None:
    """End the server that this is the postmaster.pid of, if it runs."""
    with suppress(OSError, ValueError):
        process = int(path.read_text().split("\n", 1)[0])
        if not os.path.samefile(f"/proc/{process}/cwd", path.parent):
            return  # another process has its number since
        os.kill(process, signal.SIGQUIT)
        deadline = time.monotonic() + _END_TIMEOUT
        while os.path.exists(f"/proc/{process}/cwd") and time.monotonic() < deadline:
            time.sleep(0.01)


def left_behind(prefix: str) -> Iterator[Path]:
    """Folders of this prefix wherever `temporary` may have pointed, which depends on the room that there was."""
    for place in (_MEMORY, Path(tempfile.gettempdir())):
        yield from place.glob(f"{prefix}*")


def temporary() -> Path:
    """Where folders are made: a database is copied ten times as fast in memory as on a disk.

    In a container, /dev/shm may be small, or may forbid to run programs, as a server's or a bundle's are run.
    """
    try:
        found = os.statvfs(_MEMORY)
    except OSError:
        return Path(tempfile.gettempdir())
    fit = found.f_bavail * found.f_frsize >= _ROOM and not found.f_flag & os.ST_NOEXEC
    return _MEMORY if fit and os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
