"""A token through a file descriptor: written in one piece, on the disk, taken from a pipe."""

import errno
import fcntl
import os
import struct
import termios

from tokens.secret import Secret

# What a pipe or a terminal answers when it is to be written through to a disk.
NO_DISK = (errno.EINVAL, errno.EROFS, errno.ENOTSUP, errno.EBADF)


def write(descriptor: int, token: Secret, end: bytes = b"") -> None:
    """Write the token in one piece; no variable holds it, since a traceback may show those.

    Raises:
        OSError: not all of it was taken.
    """
    if os.write(descriptor, token.reveal().encode() + end) < len(token.reveal().encode() + end):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def to_disk(descriptor: int) -> None:
    """Wait until what was written has reached the disk, where there is one behind it.

    Raises:
        OSError: it does not get there.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_DISK:
            raise


def unread(descriptor: int) -> int:
    """How many bytes are in a pipe that nobody has taken; either end of it will do (Linux: pipe(7), FIONREAD)."""
    answer = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * struct.calcsize("i"))
    return int(struct.unpack("i", answer)[0])
