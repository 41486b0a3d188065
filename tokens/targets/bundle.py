"""The bundle: this program with the Python that runs it and that Python's C library, in one folder.

It starts through the loader that it carries, so it runs on any Linux kernel of its architecture, whatever C library and
Python are there or are not. A program that runs from a bundle packs its own folder again.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from tokens.errors import TokensError, UsageError
from tokens.version import __version__

if TYPE_CHECKING:
    from importlib.metadata import Distribution

DISTRIBUTION = "invoke-gitlab-tokens"

ENTRIES = {"gitlab-tokens": "main", "inv": "inv"}
"""The programs in the bundle, and the function of `tokens.program` that each one is."""

_PACKAGE = Path(__file__).parent.parent
_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_STDLIB = PurePath(sys.platlibdir, _PYTHON)  # lib64 on some systems, and there the interpreter looks for it
_PACKAGES = PurePath("lib", _PYTHON, "site-packages")

_UNUSED_FOLDERS = {
    *("__pycache__", "test", "tests", "testing", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip"),
    *("pydoc_data", "distutils", "venv", "curses", "sqlite3", "msilib", "site-packages", "dist-packages"),
}
_UNUSED_MODULES = re.compile(
    r"(_tkinter|_curses\w*|_sqlite3|_g?dbm|readline|nis|ossaudiodev|_test\w*|_ctypes_test|_?xx\w*)\."
)
_UNUSED_SUFFIXES = {".pyc", ".pyi", ".pyx", ".pxd", ".pth", ".a", ".c", ".h"}
# What tells of the machine on which a package was installed, and is read by installers only.
_UNUSED_FILES = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "turtle.py", "sitecustomize.py"}
# The C library loads these by name while the program runs; no file lists them as needed.
_LOADED_BY_NAME = ("libgcc_s.so.1", "libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2")

_UNFINISHED = ".unfinished-"

_LAUNCHER = r"""#!/bin/sh
# Starts the Python of this folder through the loader of this folder: of the system only sh is needed.
case $0 in
  */*) self=$0 ;;
  *) self=./$0 ;;
esac
while [ -h "$self" ]; do
  if ! link=$(PATH=/usr/bin:/bin readlink "$self"); then
    echo "$self is a symbolic link, and there is no readlink here to follow it: call what it points to." >&2
    exit 1
  fi
  case $link in
    /*) self=$link ;;
    *) self=${self%/*}/$link ;;
  esac
done
here=${self%/*}
case $here in
  /*) ;;
  *) here=$(CDPATH= cd -P "${here:-/}" && pwd -P) || exit 1 ;;
esac
case $here in
  *[:\;\$]*)
    echo "$here: the loader takes no folder with a colon, semicolon or dollar sign in its name; move it." >&2
    exit 1
    ;;
esac
# Made for the system's C library, not for this one. Python hands it to its children again.
if [ -n "$LD_PRELOAD" ]; then
  export GITLAB_TOKENS_LD_PRELOAD="$LD_PRELOAD"
  unset LD_PRELOAD
fi
# By --library-path instead of LD_LIBRARY_PATH, which children would get. Without site (-S): a distribution may have
# changed where it looks for packages.
exec "$here/lib/@LOADER@" --inhibit-cache --library-path "$here/lib" "$here/bin/python3" -I -S -B -X utf8 -c '
import os, sys
sys.argv[0] = "@NAME@"
sys.path.append(sys.prefix + "/@PACKAGES@")
if "GITLAB_TOKENS_LD_PRELOAD" in os.environ:
    os.environ["LD_PRELOAD"] = os.environ.pop("GITLAB_TOKENS_LD_PRELOAD")
from tokens.program import @ENTRY@
@ENTRY@()
' "$@"
"""


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk: a .tar.gz whose members lie below no folder of their own, all of them root's."""

    path: Path
    sha256: str
    architecture: str
    """As `uname -m` says it."""
    version: str


def build(directory: Path | None = None) -> Bundle:
    """Build the bundle of the running program anew, in place of an earlier one.

    Takes some twenty seconds. A build that is killed leaves nothing that could be taken for a bundle, and a second one
    at the same time waits for the first. Raises UsageError where this Python's C library is not glibc or the folder
    cannot be written, TokensError where a part is missing.
    """
    _require_glibc()
    with _workplace(directory) as (folder, unfinished):
        fingerprint = _fingerprint()  # Of what was there before: a file that changes meanwhile makes the bundle stale.
        root = _own_folder()
        if root is None:
            root = unfinished / "root"
            _assemble(root)
        packed = unfinished / "packed"
        _pack(root, packed)
        return _publish(packed, folder, fingerprint)


def available(directory: Path | None = None) -> Bundle | None:
    """The bundle that was built of this very code, None where there is none or it is stale; takes milliseconds."""
    try:
        folder = _folder(directory)
        known = json.loads(_record(folder).read_bytes())
        path = folder / _name()
        present = path.stat()
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


_ELSEWHERE = "name a folder in INVOKE_TOKENS_BUNDLE_DIRECTORY or tokens.bundle.directory"


@contextmanager
def _workplace(directory: Path | None) -> Iterator[tuple[Path, Path]]:
    """The bundle's folder, held by us alone, and one in it for unfinished things, which is gone afterwards."""
    import fcntl
    import shutil
    import tempfile

    folder = _folder(directory)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UsageError(f"{folder} cannot hold the bundle ({error.strerror}); {_ELSEWHERE}.") from error
    try:
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
            raise TokensError(f"The bundle cannot be built: {error}.") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    finally:
        os.close(held)


def _fingerprint() -> str:
    """What changes whenever a bundle built now would differ: our files, the packages installed, Python."""
    import hashlib

    facts = [sys.version]
    for path in sorted(_our_files()):
        found = path.stat()
        facts.append(f"{path.relative_to(_PACKAGE.parent)} {found.st_size} {found.st_mtime_ns}")
    for place in filter(os.path.isdir, sys.path):
        facts.extend(sorted(name for name in os.listdir(place) if name.endswith(".dist-info")))
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def _our_files() -> Iterator[Path]:
    for top in (_PACKAGE, _migrations()):
        for folder, folders, names in os.walk(top):
            folders[:] = [name for name in folders if name != "__pycache__"]
            yield from (Path(folder, name) for name in names)


def _migrations() -> Path:
    """A wheel carries the migrations inside the package; in a checkout they lie beside it."""
    inside = _PACKAGE / "migrations"
    return inside if inside.is_dir() else _PACKAGE.parent / "migrations"


def _own_folder() -> Path | None:
    """The folder of the bundle that is running, None if this is no bundle."""
    root = Path(sys.prefix)
    if root / _PACKAGES / "tokens" != _PACKAGE:
        return None
    return root if all((root / name).is_file() for name in (*ENTRIES, "VERSION", "bin/python3")) else None


def _require_glibc() -> None:
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") if sys.platform == "linux" else None
    except ValueError:
        libc = None
    if libc is None:
        raise UsageError(
            "The bundle carries its C library along, which works with glibc on Linux only; build it there."
        )


def _assemble(root: Path) -> None:
    """Put the bundle's folder together at `root`."""
    import shutil
    import sysconfig

    interpreter = Path("/proc/self/exe").resolve()
    stdlib = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(stdlib, root / _STDLIB, ignore=_unused, ignore_dangling_symlinks=True)
    _copy(interpreter, root / "bin/python3")
    compiled = [interpreter, *(stdlib / "lib-dynload" / path.name for path in _shared_objects(root / _STDLIB))]
    for distribution in _distributions():
        compiled += _copy_distribution(distribution, root / _PACKAGES)
    shutil.copytree(_PACKAGE, root / _PACKAGES / "tokens", ignore=_unused)
    shutil.copytree(_migrations(), root / _PACKAGES / "tokens/migrations", ignore=_unused, dirs_exist_ok=True)

    loader, libraries = _needed(compiled)
    _copy(loader, root / "lib" / loader.name)
    for name, path in libraries.items():
        _copy(path, root / "lib" / name)
    _strip([root / "bin/python3", *(root / "lib" / name for name in libraries), *_shared_objects(root / _STDLIB)])
    _strip(_unpatched(root / _PACKAGES))
    _compile(root)

    (root / "VERSION").write_text(f"{__version__}\n")
    for name, entry in ENTRIES.items():
        _write_launcher(root / name, loader.name, entry)


def _write_launcher(launcher: Path, loader: str, entry: str) -> None:
    """Write one of the programs in the bundle, and see that it runs."""
    words = {"LOADER": loader, "NAME": launcher.name, "ENTRY": entry, "PACKAGES": str(_PACKAGES)}
    launcher.write_text(re.sub("@([A-Z]+)@", lambda found: words[found[1]], _LAUNCHER))
    launcher.chmod(0o755)
    done = subprocess.run([launcher, "--version"], cwd="/", env={}, capture_output=True, text=True)
    if done.stdout != f"{launcher.name} {__version__}\n":
        last = (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()[-1]
        raise TokensError(f"The bundle was built but does not run: {last}.")


def _unused(folder: str, names: list[str]) -> list[str]:
    """What `shutil.copytree` leaves out: whatever a running program does not need."""
    return [name for name in names if not _is_used(PurePath(folder).name, name)]


def _is_used(folder: str, name: str) -> bool:
    if name in _UNUSED_FOLDERS or name in _UNUSED_FILES or PurePath(name).suffix in _UNUSED_SUFFIXES:
        return False
    return not (name.startswith("config-") or (folder == "lib-dynload" and _UNUSED_MODULES.match(name)))


def _copy(source: Path, target: Path) -> None:
    import shutil

    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def _shared_objects(stdlib: Path) -> list[Path]:
    return sorted((stdlib / "lib-dynload").glob("*.so"))


def _distributions() -> "list[Distribution]":
    """Our distribution and all that it requires, whatever is installed beside them.

    Of a requirement's conditions only `extra` is looked at: what another one excludes here is not installed, as a rule.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    wanted = [(DISTRIBUTION, "", False)]
    while wanted:
        name, extras, optional = wanted.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            if optional:
                continue
            raise TokensError(
                f"The bundle needs the package {name}, which is not installed here: pip install {name}."
            ) from None
        for requirement in found[name].requires or ():
            what, _, condition = requirement.partition(";")
            extra = re.search(r"""\bextra\s*==\s*["']([^"']+)["']""", condition)
            parts = re.match(r"([\w.-]+)\s*(?:\[(.*?)\])?", what.strip())
            if parts and (extra is None or _plain(extra[1]) in map(_plain, extras.split(","))):
                wanted.append((_plain(parts[1]), parts[2] or "", bool(condition)))
    return list(found.values())


def _plain(name: str) -> str:
    """A package's or extra's name in the one spelling that all its spellings stand for."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _copy_distribution(distribution: "Distribution", packages: Path) -> list[Path]:
    """Copy an installed package with its metadata; the originals of its compiled files."""
    ours = _plain(distribution.name) == DISTRIBUTION
    if not distribution.files:
        raise TokensError(
            f"The package {distribution.name} does not say what its files are; install it by pip to build the bundle."
        )
    compiled = []
    for file in distribution.files:
        metadata = file.parts[0].endswith(".dist-info")
        folders = ("", *file.parts[:-1])
        unused = not all(_is_used(folder, name) for folder, name in zip(folders, file.parts, strict=True))
        # Of ourselves only the metadata: in a checkout the list has nothing else.
        if ".." in file.parts or unused or (ours and not metadata):
            continue
        source = Path(str(distribution.locate_file(file)))
        _copy(source, packages / file)
        if re.search(r"\.so(\.|$)", file.name):
            compiled.append(source)
    return compiled


def _needed(compiled: list[Path]) -> tuple[Path, dict[str, Path]]:
    """The loader, and by name each shared library that the files need and no package brings along."""
    try:
        done = subprocess.run(
            ["ldd", *compiled],  # noqa: S607
            env={**os.environ, "LC_ALL": "C"},
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        raise TokensError("The bundle cannot be built without ldd, which belongs to glibc's own programs.") from None
    libraries: dict[str, Path] = {}
    for name, path in re.findall(r"^\s+(\S+) => (/.+) \(0x", done.stdout, re.MULTILINE):
        if not any(folder.endswith((".libs", "-packages")) for folder in Path(path).parts):
            libraries.setdefault(name, Path(path))
    loader = re.search(r"^\s+(?:\S+ => )?(/\S*/ld[-\w.]*\.so\.\d+) \(0x", done.stdout, re.MULTILINE)
    if loader is None or "libc.so.6" not in libraries:
        raise TokensError(f"ldd does not tell what {compiled[0]} needs: a bundle cannot be built of this Python.")
    libraries.pop(Path(loader[1]).name, None)
    for name in _LOADED_BY_NAME:
        beside = libraries["libc.so.6"].with_name(name)
        if beside.exists():
            libraries.setdefault(name, beside)
    return Path(loader[1]), libraries


def _strip(files: Iterable[Path]) -> None:
    """Take away the symbols that only a debugger wants, where there is a program for it."""
    import shutil

    if strip := shutil.which("strip"):
        # One that strip cannot handle stays as it is.
        subprocess.run([strip, "--strip-unneeded", *files], capture_output=True)


def _unpatched(packages: Path) -> list[Path]:
    """Compiled modules of packages without libraries of their own: `strip` damages what was patched to find those."""
    return [
        path
        for path in sorted(packages.rglob("*.so"))
        if not (packages / f"{path.relative_to(packages).parts[0]}.libs").exists()
    ]


def _compile(root: Path) -> None:
    """Ship bytecode: Invoke has none written, so every start would compile everything anew."""
    words = ["-q", "-j", "0", "--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/"]
    done = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-m", "compileall", *words, str(root)], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise TokensError(f"The bundle's modules cannot be compiled: {(done.stdout + done.stderr).strip()[-200:]}")


def _pack(root: Path, packed: Path) -> None:
    """Write `root`'s files into a .tar.gz that does not tell who built it, nor when."""
    import gzip
    import tarfile

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
    import hashlib

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
