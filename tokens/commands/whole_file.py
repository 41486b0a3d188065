"""A file that is there as a whole or not at all, for readers that come at any moment."""

import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tokens.errors import TokensError


def replace(path: Path, content: bytes | Iterable[bytes], mode: int = 0o644, *, option: str = "file") -> None:
    """Put `content` in the place of a file at once, so that no reader gets half of it; it gets this mode.

    Of what comes in parts no more than one is held in memory. `option` is the one that names it.

    Raises:
        TokensError: it cannot be written, or is a device, a folder or a link; an older one stays as it is.
    """
    try:
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            raise TokensError(f'--{option} "{path}" is no plain file, and nothing else is replaced; leave it out.')
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=f".{path.name[:100]}.", delete=False) as new:
            try:
                new.writelines([content] if isinstance(content, bytes) else content)
                new.flush()
                os.fsync(new.fileno())
                os.fchmod(new.fileno(), mode)
                os.replace(new.name, path)
            except BaseException:
                os.unlink(new.name)
                raise
    except OSError as error:
        raise TokensError(f'--{option} "{path}" cannot be written: {error.strerror}.') from error
