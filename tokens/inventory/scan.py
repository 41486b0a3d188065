"""Where in files a token may be. Files are read as bytes, a part at a time, whatever is in them."""

import codecs
import functools
import itertools
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO

from tokens.errors import UsageError
from tokens.gitlab.token_text import LONGEST, LONGEST_PREFIX, Finder
from tokens.secret import Secret

PART = 1 << 20  # bytes that are looked at together
OF_THE_KERNEL = ("/proc", "/sys")
MOST_NAMED = 3  # files that were not read, or that have damaged tokens
# How texts of Windows begin. The codecs are files of Python, which GitLab's user may not be able to read later on.
SIXTEEN_BITS = {b"\xff\xfe": codecs.lookup("utf-16-le"), b"\xfe\xff": codecs.lookup("utf-16-be")}


@dataclass(frozen=True)
class Occurrence:
    """A place where a token may be; see `gitlab.token_text.Found` for `texts` and `sure`."""

    path: str
    line: int
    texts: tuple[Secret, ...]
    sure: bool


@dataclass
class Scan:
    """The files of a folder, or one file; symbolic links are not followed, and what is no file is passed over.

    Attributes:
        folder: where they are.
        prefixes: what this instance's access tokens begin with.
        is_wanted: asked again and again whether to go on.
        files: how many were read.
        unread: why a file or folder could not be read, by its path; the first ones.
        more_unread: how many more could not be read.
        damaged: where texts are that look like tokens and have a checksum that does not belong to them; the first ones.
        more_damaged: how many more there are.
    """

    folder: str
    prefixes: Sequence[str]
    is_wanted: Callable[[], bool] = lambda: True
    files: int = 0
    unread: dict[str, str] = field(default_factory=dict)
    more_unread: int = 0
    damaged: list[str] = field(default_factory=list)
    more_damaged: int = 0

    def occurrences(self) -> Iterator[Occurrence]:
        """Every place, file by file in the order of their names."""
        finder = Finder(self.prefixes)
        for path in self._files():
            if not self.is_wanted():
                return
            try:
                with _opened(path, follow=path == self.folder) as file:
                    if file is None:
                        continue
                    for one in _in_file(path, file, finder, self.is_wanted):
                        if one.texts:
                            yield one
                        elif len(self.damaged) < MOST_NAMED:
                            self.damaged.append(f"{path}:{one.line}")
                        else:
                            self.more_damaged += 1
                    self.files += 1
            except OSError as error:
                self._leave_out(path, error)

    def _files(self) -> Iterator[str]:
        if not os.path.isdir(self.folder):
            yield self.folder
            return
        left = [self.folder]
        while left:
            folder = left.pop()
            try:
                with os.scandir(folder) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
                below = [one for one in found if one.is_dir(follow_symlinks=False)]
                left += [one.path for one in reversed(below) if not _is_of_the_kernel(one.path)]
                yield from (one.path for one in found if one.is_file(follow_symlinks=False))
            except OSError as error:
                self._leave_out(folder, error)

    def _leave_out(self, path: str, error: OSError) -> None:
        if len(self.unread) < MOST_NAMED:
            self.unread[path] = error.strerror or "it cannot be read"
        else:
            self.more_unread += 1


def check_place(folder: str) -> None:
    """Refuse what is neither a folder nor a file.

    Raises:
        UsageError: it is not there, or may not be looked at.
    """
    try:
        mode = os.stat(folder).st_mode
    except OSError as error:
        raise UsageError(f'--scan cannot look into "{folder}": {error.strerror}.') from None
    if _is_of_the_kernel(folder):
        raise UsageError(
            f'--scan reads files on disks, and "{folder}" is made up by the kernel: choose another folder.'
        )
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise UsageError(f'--scan takes a folder or a file, and "{folder}" is neither.')


def _is_of_the_kernel(path: str) -> bool:
    found = _status(path)
    return found is not None and found.st_dev in _devices_of_the_kernel()


@functools.cache
def _devices_of_the_kernel() -> frozenset[int]:
    return frozenset(found.st_dev for found in map(_status, OF_THE_KERNEL) if found)


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


@contextmanager
def _opened(path: str, *, follow: bool) -> Iterator[FileIO | None]:
    """A file to be read; None where a pipe or a device has taken its place."""
    # Without waiting: who opens a named pipe waits for somebody who writes into it.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        yield FileIO(descriptor, closefd=False) if is_file else None
    finally:
        os.close(descriptor)


def _in_file(path: str, file: FileIO, finder: Finder, is_wanted: Callable[[], bool]) -> Iterator[Occurrence]:
    line = 1
    for text, begins, ends in itertools.takewhile(lambda _: is_wanted(), _parts(file)):
        counted = begins
        for found in finder.find(text):
            if begins <= found.position < ends:
                line += text.count(b"\n", counted, found.position)
                counted = found.position
                yield Occurrence(path, line, found.texts, found.sure)
        line += text.count(b"\n", counted, ends)


def _parts(file: FileIO) -> Iterator[tuple[bytes, int, int]]:
    """The content in parts, each with where in it begins and ends what counts: the rest is another part's, too.

    What is appended while it is read does not count: a file may grow as fast as it is read.
    """
    left = os.fstat(file.fileno()).st_size
    part = file.read(min(PART, left)) or b""
    codec = SIXTEEN_BITS.get(part[:2])
    text, begins = b"", 0
    while True:
        left -= len(part)
        text += part if codec is None else codec.decode(part, "replace")[0].encode(errors="replace")
        following = file.read(min(PART, left)) or b""
        ends = max(begins, len(text) - LONGEST) if following else len(text)
        yield text, begins, ends
        if not following:
            return
        part, kept = following, max(0, ends - LONGEST_PREFIX)
        text, begins = text[kept:], ends - kept
