"""The files of a log: which are meant, in the order in which they were written, and their bytes in whole lines."""

import contextlib
import queue
import re
import shutil
import subprocess
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from glob import glob, has_magic
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

from tokens.errors import TokensError, UsageError

try:
    import zstandard
except ImportError:
    zstandard = None  # type: ignore[assignment]

AT_ONCE = 4 * 1024 * 1024  # bytes read, or decompressed, in one go
AHEAD = 2  # such blocks that are decompressed before they are asked for
LONGEST_LINE = 64 * 1024 * 1024  # bytes; a longer one is damaged
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"

# logrotate's: .1, .2.gz; with dateext -20260615, -20260615.gz, -20260615-1750000000
# runit's: @ and a moment in TAI64N, beside the live one named current
STAMPED = re.compile(r"@(?P<moment>[0-9a-f]{16,24})\.[su]")
ROTATED = re.compile(r"(?:\.(?P<number>\d{1,4})|[-.](?P<date>\d{4}-?\d{2}-?\d{2}(?:[-T]?\d+)?))(?:\.(?:gz|zst|zstd))?$")


class Log(Protocol):
    """What can be read as a log."""

    @property
    def name(self) -> str:
        """What a message calls it."""
        ...

    @property
    def grows(self) -> bool:
        """Whether its last line may be written at this very moment."""
        ...

    def open(self) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Its bytes as they are, compressed or not."""
        ...


@dataclass(frozen=True)
class LogFile:
    """A file that lies here."""

    path: Path
    grows: bool = True

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def open(self) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Its bytes.

        Raises:
            UsageError: it cannot be opened.
        """
        try:
            return self.path.open("rb", buffering=0)
        except OSError as error:
            raise UsageError(f'--log cannot read "{self.path}": {error.strerror}.') from None


@dataclass(frozen=True)
class LogStream:
    """What is open already, standard input or a file; to be read once."""

    stream: IO[bytes] = field(repr=False)
    name: str = "standard input"
    grows: bool = False

    def open(self) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Its bytes."""
        return contextlib.nullcontext(self.stream)


def logs(words: Sequence[str], stdin: BinaryIO | None) -> tuple[Log, ...]:
    """The logs that `words` mean, oldest first, each once: files, globs, or `-` for `stdin`.

    Raises:
        UsageError: no such file, a folder, nothing at all, or no standard input.
    """
    found: dict[Path, None] = {}
    streams: list[Log] = []
    for word in words:
        if word == "-":
            if stdin is None:
                raise UsageError("--log - reads standard input, which is closed; give a file.")
            if not streams:
                streams.append(LogStream(stdin))
        else:
            found.update(dict.fromkeys(_files(word)))
    return (*map(LogFile, sorted(found, key=age, reverse=True)), *streams)


@contextlib.contextmanager
def opened(found: Sequence[Log]) -> Iterator[tuple[Log, ...]]:
    """The same logs, opened before this process may become another account and read them.

    Raises:
        UsageError: one of them cannot be opened.
    """
    with contextlib.ExitStack() as stack:
        yield tuple(LogStream(stack.enter_context(log.open()), log.name, log.grows) for log in found)


def rotated(path: Path) -> tuple[Log, ...]:
    """`path` and what it was rotated into, oldest first; those that exist."""
    found = [one for one in path.parent.glob(f"{path.name}*") if one == path or _is_of(path, one)]
    return tuple(map(LogFile, sorted(found, key=age, reverse=True)))


def age(path: Path) -> tuple[int, float, str]:
    """Sorts rotated files, the youngest first: the live one, then .1, .2; those with a date by that."""
    if stamped := STAMPED.fullmatch(path.name):
        return (1, -int(stamped["moment"][:16], 16), path.name)
    found = ROTATED.search(path.name)
    if found is None:
        return (0, 0, path.name)
    if found["number"]:
        return (1, int(found["number"]), path.name)
    digits = re.sub(r"\D", "", found["date"])
    with contextlib.suppress(OSError):
        # Two of one day: whichever was written later.
        return (1, -int(digits[:8]) - min(path.stat().st_mtime, 1e11) / 1e12, path.name)
    return (1, -int(digits[:8]), path.name)


def _is_of(path: Path, one: Path) -> bool:
    found = ROTATED.search(one.name)
    return found is not None and one.name[: found.start()] == path.name and one.is_file()


def _files(word: str) -> Sequence[Path]:
    if not word:
        raise UsageError("--log takes a file, a pattern such as api_json.log*, or - for standard input.")
    path = Path(word)
    if path.is_dir():
        raise UsageError(f'--log takes files, and "{word}" is a folder; use "{word.rstrip("/")}/api_json.log*".')
    if path.exists() or not has_magic(word):
        if not path.exists():
            raise UsageError(f'--log has no file "{word}".')
        return [path]
    matching = [Path(one) for one in glob(word)]
    files = [one for one in matching if one.is_file()]
    if not files:
        raise UsageError(f'--log has no file that matches "{word}".')
    return files


@dataclass
class Reading:
    """How the bytes of one log end, known when they have been read.

    Attributes:
        is_cut: whether compressed data ended too early, or could not be decompressed to its end.
    """

    is_cut: bool = False


def blocks(stream: IO[bytes], reading: Reading) -> Iterator[bytes]:
    """The bytes of `stream`, decompressed, in blocks of a few MB.

    What decompresses runs beside the caller, in a thread: the two share no lock while they work.

    Raises:
        TokensError: nothing right here can decompress it.
    """
    head = _exactly(stream, 4)
    if head.startswith(GZIP):
        return _ahead(_gunzipped(stream, head, reading))
    if head == ZSTD:
        return _ahead(_unzstd(stream, head, reading))
    return _plain(stream, head)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    found = b""
    while len(found) < size and (more := stream.read(size - len(found))):
        found += more
    return found


def _plain(stream: IO[bytes], head: bytes) -> Iterator[bytes]:
    if head:
        yield head
    while block := stream.read(AT_ONCE):
        yield block


def _gunzipped(stream: IO[bytes], head: bytes, reading: Reading) -> Iterator[bytes]:
    """All members of a gzip file, one behind the other."""
    member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    data = head
    begun = False
    try:
        while True:
            if not data:
                data = stream.read(AT_ONCE // 8)
                if not data:
                    reading.is_cut = begun
                    return
            if not begun:
                data = data.lstrip(b"\0")  # a tape's padding
                begun = bool(data)
                if not begun:
                    continue
            found = member.decompress(data, AT_ONCE)
            data = member.unconsumed_tail
            if found:
                yield found
            if member.eof:
                data = member.unused_data
                member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
                begun = False
    except zlib.error:
        reading.is_cut = True


def _unzstd(stream: IO[bytes], head: bytes, reading: Reading) -> Iterator[bytes]:
    if zstandard is not None:
        yield from _by_library(stream, head, reading)
    elif (program := shutil.which("zstd")) is not None:
        yield from _by_program(program, stream, head, reading)
    else:
        raise TokensError(
            "The log is compressed with zstd, which neither Python's zstandard nor the program zstd is here to read. "
            "→ Install the package zstd, or decompress the log first."
        )


def _by_library(stream: IO[bytes], head: bytes, reading: Reading) -> Iterator[bytes]:
    """All frames of a zstd file, one behind the other."""
    data = head
    try:
        while data:
            frame = zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()
            while data and not frame.eof:
                yield frame.decompress(data)
                data = frame.unused_data if frame.eof else stream.read(AT_ONCE // 32)
            reading.is_cut = not frame.eof
            data = data or stream.read(AT_ONCE // 32)
    except zstandard.ZstdError:
        reading.is_cut = True


def _by_program(program: str, stream: IO[bytes], head: bytes, reading: Reading) -> Iterator[bytes]:
    with subprocess.Popen(  # noqa: S603 - found on PATH, with fixed arguments
        [program, "-dc", "--long=31"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        feeder = threading.Thread(target=_feed, args=(process.stdin, stream, head), daemon=True)
        feeder.start()
        try:
            while found := process.stdout.read(AT_ONCE):
                yield found
        finally:
            process.stdout.close()
            feeder.join()
        reading.is_cut = process.wait() != 0


def _feed(into: IO[bytes], stream: IO[bytes], head: bytes) -> None:
    with contextlib.suppress(OSError), into:
        into.write(head)
        shutil.copyfileobj(stream, into, 256 * 1024)


def _ahead(found: Iterator[bytes]) -> Iterator[bytes]:
    """The same, made in a thread, a few blocks ahead."""
    made: queue.Queue[Any] = queue.Queue(AHEAD)
    is_wanted = threading.Event()
    is_wanted.set()

    def put(what: object) -> None:
        while is_wanted.is_set():
            with contextlib.suppress(queue.Full):
                made.put(what, timeout=0.2)
                return

    def make() -> None:
        end: BaseException | None = None
        try:
            for block in found:
                put(block)
                if not is_wanted.is_set():
                    return
        except BaseException as error:  # raised again where the blocks are read
            end = error
        finally:
            put(end)

    maker = threading.Thread(target=make, daemon=True)
    maker.start()
    try:
        while isinstance(block := made.get(), bytes):
            yield block
        if block is not None:
            raise block
    finally:
        is_wanted.clear()
        maker.join()
