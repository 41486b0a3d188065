"""Folders that every account of this machine may pass through, in memory where there is room."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLOSED_CHECKOUT = "other accounts may not read this checkout, or no Python"
"""The one reason to skip that nobody can install away."""

_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30  # bytes; two workers with three servers each take about half of it


@contextmanager
def public_folder() -> Iterator[Path]:
    """A temporary folder that PostgreSQL's account may pass through; pytest's own ones are closed to it under root."""
    folder = Path(tempfile.mkdtemp(prefix="tokens-", dir=temporary()))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


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
