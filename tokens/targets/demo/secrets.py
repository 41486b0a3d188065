"""The demo's own db_key_base, in a secrets.yml as GitLab's: what the digests of tokens that are made there need."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from tokens.errors import ServerError

NAME = "secrets.yml"
_BYTES = 64  # 128 characters, as GitLab makes it


def secrets_file(folder: Path) -> Path:
    """The demo's secrets.yml, mode 600, made with a key of its own where there is none.

    Raises:
        ServerError: it cannot be written.
    """
    path = folder / NAME
    if path.exists():
        return path
    try:
        descriptor, made = tempfile.mkstemp(prefix=f"{NAME}.", dir=folder)  # mode 600
        with os.fdopen(descriptor, "w") as file:
            file.write(f"production:\n  db_key_base: {secrets.token_hex(_BYTES)}\n")
        # Of two that make one at once the second takes the first one's.
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
        os.unlink(made)
    except OSError as error:
        raise ServerError(f"The demo's secrets cannot be written into {folder}: {error.strerror}.") from error
    return path
