"""The bundle: this program with the Python that runs it and that Python's C library, in one folder.

It starts through the loader that it carries, so it runs on any Linux kernel of its architecture, whatever C library and
Python are there or are not. A program that runs from a bundle packs its own folder again.
"""

import errno
import fcntl
import gzip
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokens.errors import TokensError, UsageError
from tokens.targets.there.assembly import DISTRIBUTION, ENTRIES, PACKAGES, assemble, require_glibc
from tokens.version import __version__

_PACKAGE = Path(__file__).parents[2]
_UNFINISHED = ".unfinished-"

BESIDE = ("migrations", "deploy")
"""The folders that belong to the package and are not Python's."""


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk: a .tar.gz whose members lie below no folder of their own, all of them root's."""

    path: Path
    sha256: str
    architecture: str
    """As `uname -m` says it."""
    version: str


def build(directory: Path | None = None) -> Bundle:
    """Build the bundle of the running program again, in place of an earlier one.

    Takes some twenty seconds. A build that is killed leaves nothing that could be taken for a bundle, and a second one
    at the same time waits for the first. Raises UsageError where this Python's C library is not glibc or the folder
    cannot be written, TokensError where a part is missing.
    """
    require_glibc()
    with _workplace(directory) as (folder, unfinished):
        fingerprint = _fingerprint()  # Of what was there before: a file that changes meanwhile makes the bundle stale.
        root = _own_folder()
        if root is None:
            root = unfinished / "root"
            assemble(root, _PACKAGE, [beside(name) for name in BESIDE])
        packed = unfinished / "packed"
        _pack(root, packed)
        return _publish(packed, folder, fingerprint)


def is_running() -> bool:
    """Whether the program that runs is itself a bundle."""
    return _own_folder() is not None


def available(directory: Path | None = None) -> Bundle | None:
    """The bundle that was built of this very code, None where there is none or it is stale; takes milliseconds."""
    try:
        folder = _folder(directory)
        known = json.loads(_record(folder).read_bytes())
        path = folder / _name()
        present = path.stat()
        _check_owner(folder)
        _check_owner(path)
        if known["fingerprint"] != _fingerprint() or known["packed"] != [present.st_size, present.st_mtime_ns]:
            return None
        return Bundle(path, str(known["sha256"]), os.uname().machine, __version__)
    except (OSError, ValueError, KeyError, TypeError, UsageError):
        return None


def remove(directory: Path | None = None) -> list[Path]:
    """Remove every bundle of this program from the folder; returns what is gone."""
    found = sorted(_folder(directory).glob("gitlab-tokens-*.tar.gz"))
    for path in found:
        path.unlink(missing_ok=True)
        path.with_name(path.name.replace(".tar.gz", ".json")).unlink(missing_ok=True)
    return found


def _name() -> str:
    return f"gitlab-tokens-{__version__}-{os.uname().machine}.tar.gz"


def _record(folder: Path) -> Path:
    """Where the facts of the bundle stand that `available` wants to know without reading it."""
    return folder / _name().replace(".tar.gz", ".json")


def _folder(directory: Path | None) -> Path:
    if directory is not None:
        return directory.absolute()
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if cache.startswith("/"):  # A relative one is to be ignored, says the XDG specification.
        return Path(cache) / DISTRIBUTION
    try:
        return Path.home() / ".cache" / DISTRIBUTION
    except RuntimeError:
        raise UsageError(f"There is no home directory for the bundle here; {_ELSEWHERE}.") from None


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ELSEWHERE = "name a folder in INVOKE_TOKENS_BUNDLE_DIRECTORY or tokens.bundle.directory"


@contextmanager
def _workplace(directory: Path | None) -> Iterator[tuple[Path, Path]]:
    """The bundle's folder, held by us alone, and one in it for unfinished things, which is gone afterwards."""
    folder = _folder(directory)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UsageError(f"{folder} cannot hold the bundle ({error.strerror}); {_ELSEWHERE}.") from error
    try:
        _check_owner(folder)
        fcntl.flock(held, fcntl.LOCK_EX)
        for left_over in folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left_over, ignore_errors=True)
        try:
            unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
        except OSError as error:
            raise UsageError(f"{folder} cannot hold the bundle ({error.strerror}); {_ELSEWHERE}.") from error
        try:
            yield folder, unfinished
        except OSError as error:
            raise _unbuilt(folder, error) from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    finally:
        os.close(held)


def _unbuilt(folder: Path, error: OSError) -> TokensError:
    """What the system has refused while a bundle was built; of a whole tree the first file counts."""
    of_a_tree = isinstance(error, shutil.Error) and isinstance(error.args[0], list)
    text = str(error.args[0][0][2] if of_a_tree else error)
    why = re.sub(r"^\[Errno \d+\] ", "", text)
    if any(text.startswith(f"[Errno {number}]") for number in _NO_ROOM):
        return TokensError(f"{folder} has no room for the bundle ({why.partition(': ')[0]}); {_ELSEWHERE}.")
    return TokensError(f"The bundle cannot be built: {why}.")


def _check_owner(path: Path) -> None:
    """Refuse, by UsageError, what others may have put there: a bundle runs as root in containers."""
    found = path.stat()
    everybodys = found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX
    if found.st_uid not in (0, os.geteuid()) or everybodys:
        raise UsageError(
            f"{path} is somebody else's, or everybody may write it, so no bundle is kept there; {_ELSEWHERE}."
        )


def _fingerprint() -> str:
    """What changes whenever a bundle built now would differ: our files, the packages installed, Python."""
    facts = [sys.version]
    for path in sorted(_our_files()):
        found = path.stat()
        facts.append(f"{path.relative_to(_PACKAGE.parent)} {found.st_size} {found.st_mtime_ns}")
    for place in filter(os.path.isdir, sys.path):
        facts.extend(sorted(name for name in os.listdir(place) if name.endswith(".dist-info")))
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def _our_files() -> Iterator[Path]:
    for top in (_PACKAGE, *map(beside, BESIDE)):
        for folder, folders, names in os.walk(top):
            folders[:] = [name for name in folders if name != "__pycache__"]
            yield from (Path(folder, name) for name in names)


def beside(name: str) -> Path:
    """One of `BESIDE`. A wheel and a bundle carry it inside the package; in a checkout it lies beside it."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def _own_folder() -> Path | None:
    """The folder of the bundle that is running, None if this is no bundle."""
    root = Path(sys.prefix)
    if root / PACKAGES / "tokens" != _PACKAGE:
        return None
    return root if all((root / name).is_file() for name in (*ENTRIES, "VERSION", "bin/python3")) else None


def _pack(root: Path, packed: Path) -> None:
    """Write `root`'s files into a .tar.gz that does not tell who built it, nor when."""
    newest = max(int(path.stat().st_mtime) for path in _our_files())
    tops = [root / name for name in {*ENTRIES, "VERSION", "bin", "lib", sys.platlibdir}]
    members = sorted(member for top in tops for member in (top, *top.rglob("*")))
    # A time and a name in gzip's header would make every build another one.
    with (
        packed.open("wb") as file,
        gzip.GzipFile("", "wb", 6, file, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in members:
            member = tarfile.TarInfo(f"./{path.relative_to(root)}")
            member.uname = member.gname = "root"
            member.mtime = newest
            member.mode = 0o755 if os.access(path, os.X_OK) else 0o644
            if path.is_dir():
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
                continue
            with path.open("rb") as content:
                member.size = os.fstat(content.fileno()).st_size
                tar.addfile(member, content)


def _publish(packed: Path, folder: Path, fingerprint: str) -> Bundle:
    """Give the finished bundle its name. The record counts for exactly this file, so their order does not matter."""
    with packed.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    path = folder / _name()
    present = packed.stat()
    known: dict[str, Any] = {
        "sha256": sha256,
        "fingerprint": fingerprint,
        "packed": [present.st_size, present.st_mtime_ns],
    }
    record = packed.with_name("record")
    record.write_text(json.dumps(known))
    packed.replace(path)
    record.replace(_record(folder))
    return Bundle(path, sha256, os.uname().machine, __version__)
