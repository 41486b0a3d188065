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

Asking whether the server runs needs no database library and no child process.
"""

import contextlib
import fcntl
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tokens.address import Address
from tokens.errors import ExitStatus, ServerError
from tokens.targets.demo.programs import Account, Programs, packaged_binaries, reason, unprivileged_account

SUPERUSER = "postgres"

_PORT = 5432
_SOCKET = f".s.PGSQL.{_PORT}"
_SOCKET_PATH_LIMIT = 107 if sys.platform == "linux" else 103  # bytes

_START_TIMEOUT = 60  # seconds; recovery after a crash may need a while
_ANSWER_TIMEOUT = 5.0  # seconds
_ORPHANS_TIMEOUT = 30.0  # seconds that a killed server's children get to notice

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


class ForeignFolder(ServerError):
    """A folder is to be emptied, or its server stopped, and what it holds was not put there by us."""

    status = ExitStatus.REFUSED


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
        return Address(conninfo, shown or f"{database} in {self.folder}", complete=True)

    @property
    def exists(self) -> bool:
        """Whether the folder holds a server, running or not."""
        try:
            return (self._data / "PG_VERSION").exists()
        except PermissionError:
            raise ServerError(f"The server in {self.folder} belongs to another account.") from None

    def running(self) -> bool:
        """Whether something listens on the socket; it may still be starting up. Costs well under a millisecond."""
        connection = self._connect()
        if connection is None:
            return False
        connection.close()
        return True

    def answers(self, database: str = "postgres", user: str = SUPERUSER) -> bool:
        """Whether `user` gets into `database` right now. Costs a login, a few milliseconds, and the driver's import."""
        if not self.running():
            return False
        # Not at the top: who only asks whether it runs needs no driver.
        from tokens.database.driver import accepts

        return accepts(self.address(database, user))

    # What changes something

    def start(self) -> bool:
        """Create what is missing and start the server; whether it was this call that started it.

        A second call, also from another process at the same time, attaches to the running server.
        """
        self._check_path()
        if self._up():
            return False
        account = unprivileged_account()
        done = "started" if self.exists else "created"
        with _one_line(f"The server in {self.folder} cannot be {done}"), self._locked(account, create=True):
            if self._up():
                return False
            if (self._postmaster() is not None or self.running()) and self._comes_up():
                return False
            programs = self._programs(account)
            if not self.exists:
                self._initialise(programs)
            self._start(programs)
            return True

    def stop(self) -> bool:
        """Stop the server, ending its connections; whether it was running.

        Raises:
            ForeignFolder: it is somebody else's.
        """
        if not self.exists:
            return False
        self.check_own()
        account = unprivileged_account()
        with _one_line(f"The server in {self.folder} cannot be stopped"), self._locked(account):
            if self._postmaster() is None:
                return False
            arguments = ("-D", "data", "-m", "fast", "-w", "-t", str(_START_TIMEOUT), "stop")
            done = self._programs(account).run("pg_ctl", *arguments)
            if done.returncode != 0:
                raise ServerError(f"The server in {self.folder} does not stop: {reason(done.stderr or done.stdout)}")
            return True

    def remove(self) -> int:
        """Stop the server and delete what it has in the folder; the folder too, when nothing else is left in it.

        Returns the bytes on disk that are free now.

        Raises:
            ForeignFolder: it is somebody else's; nothing is deleted.
        """
        if not self.folder.exists():
            return 0
        self.check_own()
        self.stop()
        account = unprivileged_account()
        freed = 0
        with _one_line(f"The server in {self.folder} cannot be removed"), self._locked(account):
            for pattern in ("data", "data.new.*", "socket", "binaries", "binaries.new"):
                for path in self.folder.glob(pattern):
                    freed += _size(path)
                    shutil.rmtree(path)
            for name in ("server.log", "postgresql.conf", "lock"):
                (self.folder / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.folder.rmdir()
        return freed

    def check_own(self) -> None:
        """Refuse a folder that no server of ours was made in, such as one of GitLab's PostgreSQL; by ForeignFolder."""
        with _one_line(f"The server in {self.folder} cannot be looked at"):
            foreign = self._is_foreign()
        if foreign:
            raise ForeignFolder(
                f"The folder {self.folder} holds something else; nothing in it was stopped or removed. Name the demo's "
                "own folder, or a new one."
            )

    def _is_foreign(self) -> bool:
        """Whether the folder holds something, but not the empty file that we lock before all else."""
        # The names are read once: another process that makes or removes a server here now adds or removes the lock.
        try:
            names = os.listdir(self.folder)
            lock = (self.folder / "lock").lstat() if "lock" in names else None
        except FileNotFoundError:
            return False
        return bool(names) and not (lock is not None and stat.S_ISREG(lock.st_mode) and lock.st_size == 0)

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

    def _up(self) -> bool:
        return self.answers()

    def _comes_up(self) -> bool:
        """Wait for a server that somebody else starts, or stops: whether it answers; if not, it is gone."""
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._up():
            if self._postmaster() is None and not self.running():
                return False
            if time.monotonic() > deadline:
                raise ServerError(
                    f"The server in {self.folder} (process {self._postmaster()}) runs but does not answer; "
                    f"end that process and start again."
                )
            time.sleep(0.05)
        return True

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
    def _locked(self, account: Account | None, *, create: bool = False) -> Iterator[None]:
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

    def _create_folder(self, account: Account | None) -> None:
        if not self.folder.exists():
            missing = [parent for parent in self.folder.parents if not parent.exists()]
            self.folder.mkdir(parents=True, exist_ok=True)
            if account is not None:  # root's umask may be 077
                for parent in missing:
                    parent.chmod(0o755)
        elif self._is_foreign():
            raise ServerError(f"The folder {self.folder} holds something else; give an empty or a new one.")
        if self.folder.stat().st_uid == os.geteuid():
            self.folder.chmod(0o711 if account is not None else 0o700)
        if account is not None:
            self._check_reach(account)

    def _check_reach(self, account: Account) -> None:
        for folder in (self.folder, *self.folder.parents):
            if account.may_enter(folder):
                continue
            blocking = next(parent for parent in reversed((folder, *folder.parents)) if not account.may_enter(parent))
            raise ServerError(
                f"PostgreSQL does not run as root, and the account {account.name} that runs it instead cannot enter "
                f"{blocking}; choose a folder elsewhere than {self.folder}."
            )

    def _programs(self, account: Account | None) -> Programs:
        programs = Programs(self.folder, self._binaries or packaged_binaries(), account)
        if self.exists and (made_by := (self._data / "PG_VERSION").read_text().strip()) != programs.major:
            raise ServerError(
                f"The server in {self.folder} was made by PostgreSQL {made_by}, the programs are {programs.major}; "
                f"choose another folder."
            )
        return programs

    def _initialise(self, programs: Programs) -> None:
        """Make data/, completely or not at all."""
        # The initdb of a start that was killed may still be writing: it keeps its folder to itself until it is done.
        for unfinished in self.folder.glob("data.new.*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix="data.new.", dir=self.folder))
        programs.own(fresh)
        options = ["-D", fresh.name, "-U", SUPERUSER, "-E", "UTF8", "--locale=C", "-A", "trust"]
        if self._settings.get("fsync") == "off":
            options.append("--no-sync")
        done = programs.run("initdb", *options)
        if done.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise ServerError(f"The server in {self.folder} cannot be created: {reason(done.stderr)}")
        fresh.rename(self._data)

    def _start(self, programs: Programs) -> None:
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        if self._sockets.exists():
            shutil.rmtree(self._sockets)
        self._sockets.mkdir(mode=0o700)
        programs.own(self._sockets)
        self._write_configuration()
        os.close(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
        programs.own(self._log)
        # pg_ctl hands its words to a shell: relative names need no quoting there, whatever the folder is called.
        arguments = ["-D", "data", "-l", self._log.name, "-o", "-c config_file=postgresql.conf", "-w"]
        arguments += ["-t", str(_START_TIMEOUT), "start"]
        deadline = time.monotonic() + _ORPHANS_TIMEOUT
        while True:
            written = self._log.stat().st_size
            done = programs.run("pg_ctl", *arguments)
            if done.returncode == 0:
                return
            why = self._logged(written) or reason(done.stderr)
            if "shared memory block" not in why or time.monotonic() > deadline:
                raise ServerError(f"The server in {self.folder} does not start: {why}")
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
                return reason(log.read().decode(errors="replace"), unknown="")
        except OSError:
            return ""


def _size(path: Path) -> int:
    """The bytes on disk of a folder."""
    return sum(one.lstat().st_blocks * 512 for one in path.rglob("*"))


@contextlib.contextmanager
def _one_line(failure: str) -> Iterator[None]:
    """Turn what the system refuses (permission, disk full, no such folder) into a ServerError of one line."""
    try:
        yield
    except shutil.Error as error:  # of a whole tree, file by file: the first one says it
        why = re.sub(r"^\[Errno \d+\] ", "", error.args[0][0][2])
        raise ServerError(f"{failure}: {why}.") from error
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise ServerError(f"{failure}: {error.strerror or error}{place}.") from error
    except subprocess.SubprocessError as error:
        raise ServerError(f"{failure}: {error}.") from error


def _conninfo_value(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _setting_value(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
