"""A file that is there as a whole or not at all, for readers that come at any moment."""

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tokens.errors import TokensError
from tokens.targets.here import identity

METRICS_FILE = "gitlab_tokens.prom"
"""What the file of numbers for Prometheus is called in examples."""


def replace(
    path: Path, content: bytes | Iterable[bytes], mode: int = 0o644, *, option: str = "file", example: str = ""
) -> None:
    """Put `content` in the place of a file at once, so that no reader gets half of it; it gets this mode.

    Of what comes in parts no more than one is held in memory. `option` is the one that names it, and `example` a name
    for a file of its kind.

    Raises:
        TokensError: it cannot be written, or is a device, a folder or a link; an older one stays as it is.
    """
    with _named(path, option):
        _check_plain(path, option, example)
        with _beside(path, delete=False) as new:
            try:
                new.writelines([content] if isinstance(content, bytes) else content)
                new.flush()
                os.fsync(new.fileno())
                os.fchmod(new.fileno(), mode)
                os.replace(new.name, path)
            except BaseException:
                os.unlink(new.name)
                raise


def check(path: Path, *, option: str = "file", example: str = "") -> None:
    """Raise what `replace` would raise, before work begins whose result goes there."""
    with _named(path, option):
        _check_plain(path, option, example)
        _beside(path, delete=True).close()


def _check_plain(path: Path, option: str, example: str = "") -> None:
    if path.is_dir():
        such_as = f", such as {path / example}" if example else ""
        raise TokensError(f'--{option} "{path}" is a folder: name a file in it{such_as}.')
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise TokensError(f'--{option} "{path}" is no plain file, and nothing else is replaced; leave it out.')


def _beside(path: Path, *, delete: bool) -> IO[bytes]:
    return tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=f".{path.name[:100]}.", delete=delete)


@contextmanager
def _named(path: Path, option: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        absent = isinstance(error, FileNotFoundError) and not path.parent.exists()
        why = f"there is no folder {path.parent}" if absent else error.strerror
        raise TokensError(f'--{option} "{path}" cannot be written: {why}.{_who(error)}') from error


def _who(error: OSError) -> str:
    """Who writes, where root may be surprised that it is not root, and what to type."""
    account = identity.became()
    if account is None or not isinstance(error, PermissionError):
        return ""
    return (
        f" Begun as root, this runs as {account}, whom PostgreSQL knows: name a file in a folder where {account} may "
        f"write → to make one: sudo install -d -o {account} /var/lib/gitlab-tokens"
    )
