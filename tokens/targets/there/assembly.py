"""Puts the bundle's folder together: a launcher, Python, its C library, the standard library and what we import.

The folder starts through the loader that it carries, so it runs on any Linux kernel of its architecture, whatever C
library and Python are there or are not.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from tokens.errors import TokensError, UsageError
from tokens.version import __version__

if TYPE_CHECKING:
    from importlib.metadata import Distribution

DISTRIBUTION = "invoke-gitlab-tokens"
EXTRA = "logs"

ENTRIES = {"gitlab-tokens": "main", "inv": "inv"}
"""The programs in the bundle, and the function of `tokens.start` that each one is."""

_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_STDLIB = PurePath(sys.platlibdir, _PYTHON)  # lib64 on some systems, and there the interpreter looks for it
PACKAGES = PurePath("lib", _PYTHON, "site-packages")

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
del sys.argv[0]  # the next one is what this was called by
sys.path.append(sys.prefix + "/@PACKAGES@")
if "GITLAB_TOKENS_LD_PRELOAD" in os.environ:
    os.environ["LD_PRELOAD"] = os.environ.pop("GITLAB_TOKENS_LD_PRELOAD")
from tokens.start import @ENTRY@
@ENTRY@()
' "$0" "$@"
"""


def require_glibc() -> None:
    """Refuse, by UsageError, a Python whose C library cannot be put into a bundle."""
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") if sys.platform == "linux" else None
    except ValueError:
        libc = None
    if libc is None:
        raise UsageError(
            "The bundle carries its C library along, which works with glibc on Linux only; build it there."
        )


def assemble(root: Path, package: Path, beside: Iterable[Path]) -> None:
    """Put the bundle's folder together at `root`, with our own code from `package` and the folders beside it.

    Raises TokensError where a part is missing or the result does not run.
    """
    interpreter = Path("/proc/self/exe").resolve()
    stdlib = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(stdlib, root / _STDLIB, ignore=_unused, ignore_dangling_symlinks=True)
    _copy(interpreter, root / "bin/python3")
    compiled = [interpreter, *(stdlib / "lib-dynload" / path.name for path in _shared_objects(root / _STDLIB))]
    for distribution in _distributions():
        compiled += _copy_distribution(distribution, root / PACKAGES)
    shutil.copytree(package, root / PACKAGES / "tokens", ignore=_unused)
    for folder in beside:
        shutil.copytree(folder, root / PACKAGES / "tokens" / folder.name, ignore=_unused, dirs_exist_ok=True)

    loader, libraries = _needed(compiled)
    _copy(loader, root / "lib" / loader.name)
    for name, path in libraries.items():
        _copy(path, root / "lib" / name)
    _strip([root / "bin/python3", *(root / "lib" / name for name in libraries), *_shared_objects(root / _STDLIB)])
    _strip(_unpatched(root / PACKAGES))
    _compile(root)

    (root / "VERSION").write_text(f"{__version__}\n")
    for name, entry in ENTRIES.items():
        _write_launcher(root / name, loader.name, entry)


def _write_launcher(launcher: Path, loader: str, entry: str) -> None:
    """Write one of the programs in the bundle, and see that it runs."""
    words = {"LOADER": loader, "ENTRY": entry, "PACKAGES": str(PACKAGES)}
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
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def _shared_objects(stdlib: Path) -> list[Path]:
    return sorted((stdlib / "lib-dynload").glob("*.so"))


def _distributions() -> "list[Distribution]":
    """Our distribution and all that it requires, whatever is installed beside them, and EXTRA where that is installed.

    Of a requirement's conditions only `extra` is looked at: what another one excludes here is not installed, as a rule.
    """
    # Not at the top: it is slow to import, and whoever only carries a bundle that is there needs none of it.
    from importlib.metadata import PackageNotFoundError, distribution

    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    wanted = [(DISTRIBUTION, EXTRA, False)]
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
    """Ship bytecode: Invoke has none written, so every start would compile everything again."""
    words = ["-q", "-j", "0", "--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/"]
    done = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-m", "compileall", *words, str(root)], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise TokensError(f"The bundle's modules cannot be compiled: {(done.stdout + done.stderr).strip()[-200:]}")
