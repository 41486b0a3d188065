"""Folders that every account of this machine may pass through."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLOSED_CHECKOUT = "other accounts may not read this checkout, or no Python"
"""The one reason to skip that nobody can install away."""


@contextmanager
def public_folder() -> Iterator[Path]:
    """A temporary folder that PostgreSQL's account may pass through; pytest's own ones are closed to it under root."""
    folder = Path(tempfile.mkdtemp(prefix="tokens-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
