"""Real system accounts, peer authentication, and GitLab installations below a folder with their real owners and modes.

system_account   an account of this machine, for as long as a test runs
run_as           a program as that account
peer_server      a PostgreSQL server that asks the kernel who is calling, as GitLab's own does
omnibus, source, distribution, toolbox  what each kind of installation lays out on disk
"""

import fcntl
import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.testbed.engine import make_engine
from tests.testbed.factories import make_migration_row, make_tokens
from tests.testbed.folders import public_folder, temporary
from tests.testbed.servers import prepare
from tokens.address import Address
from tokens.targets.demo.embedded import SUPERUSER, Server
from tokens.targets.demo.programs import Account
from tokens.terminal.console import PATIENCE_VARIABLE
from tokens.upgrade import Branch, upgrade

GITLAB = "gitlab"
DATABASE = "gitlabhq_production"
VERSION = "19.2.1-ee"
EXTERNAL = "gitlab_external"
"""A role with all of GitLab's privileges that logs in with PASSWORD, as where the database is elsewhere."""
PASSWORD = 'Sesame \'n \\ "quotes" #1'
ACCOUNT = "gltest-git"
"""The account that stands for GitLab's `git`; not called that, so that no real one is taken for ours."""

_PREFIX = "gltest-"
_LOCK_TIMEOUT = 60  # seconds that somebody else may take to change the machine's accounts


def missing() -> str | None:
    """Why no accounts can be added here, as the reason to skip; None if they can."""
    if os.geteuid() != 0:
        return "adding system accounts needs root"
    if absent := [program for program in ("useradd", "userdel") if shutil.which(program) is None]:
        return f"adding system accounts needs {', '.join(absent)}"
    return None


@contextmanager
def system_account(name: str = ACCOUNT) -> Iterator[Account]:
    """A system account with a group of the same name and no home; one that was left behind is taken over.

    Test runs at the same time share it, and the last one removes it. Its processes must have ended by then.
    """
    if not name.startswith(_PREFIX):
        raise ValueError(f"{name} does not begin with {_PREFIX}: it may be somebody's real account")
    with _shared_lock(Path(tempfile.gettempdir(), f"{name}.lock")) as lock:
        _add(name)
        try:
            entry = pwd.getpwnam(name)
            yield Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
        finally:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # another run still uses it, and removes it
            else:
                _change_accounts("userdel", name)
                os.unlink(lock.name)


def run_as(account: Account, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program as the account, with nothing of the caller's environment but what `env` says."""
    return subprocess.run(
        words,
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
        env={"PATH": os.defpath, PATIENCE_VARIABLE: os.environ[PATIENCE_VARIABLE], **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass(frozen=True)
class PeerServer:
    """A server with GitLab's database: the folder of its socket, which everybody may enter, and its port."""

    folder: Path
    port: int

    def address(self, user: str = GITLAB, password: str | None = None) -> Address:
        """GitLab's database, for the role that the caller's account may have: root is let in as `postgres` only."""
        conninfo = make_conninfo(host=str(self.folder), port=self.port, dbname=DATABASE, user=user, password=password)
        return Address(conninfo, f"{DATABASE} as {user}", complete=True)


@contextmanager
def peer_server(account: Account) -> Iterator[PeerServer]:
    """A server whose pg_hba and pg_ident are the Linux package's, with `account` in the place of `git`.

    Two lines are the tests' own: root may be `postgres`, to fill tables, and everybody may be EXTERNAL with PASSWORD.
    """
    settings = {"fsync": "off", "shared_buffers": "16MB", "unix_socket_permissions": "0777", **PACKAGED_TIMEOUTS}
    with public_folder() as folder:
        server = Server(folder / "pg", settings=settings)
        try:
            prepare(server).start()
            make_production_database(server)
            with psycopg.connect(server.address("postgres").conninfo, autocommit=True) as connection:
                connection.execute(f"CREATE ROLE {EXTERNAL} LOGIN IN ROLE {GITLAB}")
                statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(EXTERNAL), PASSWORD)
                connection.execute(statement)
            server.stop()
            data = server.folder / "data"
            (data / "pg_hba.conf").write_text(f"local all {EXTERNAL} scram-sha-256\n{PEER_HBA}")
            (data / "pg_ident.conf").write_text(peer_ident(account.name) + f"gitlab root {SUPERUSER}\n")
            server.start()
            sockets = server.folder / "socket"
            sockets.chmod(0o755)
            (sockets / ".s.PGSQL.5432").chmod(0o777)
            yield PeerServer(sockets, 5432)
        finally:
            server.remove()


PACKAGED_TIMEOUTS = {"statement_timeout": "60000", "idle_in_transaction_session_timeout": "60000"}
"""What the Linux package sets for the whole server, in milliseconds."""

PEER_HBA = "local all all peer map=gitlab\n"


def peer_ident(account: str) -> str:
    """Let `account` in as the role `gitlab`, and every account as the role of its own name."""
    return f"gitlab {account} {GITLAB}\ngitlab /^(.*)$ \\1\n"


def make_production_database(server: Server) -> None:
    """GitLab's database in the newest release's shape, owned by the role `gitlab`, with six tokens in it.

    Three expire on 2024-06-15, one on 2024-12-31, two never; the clean-up of GitLab 16.0 is recorded.
    """
    parameters = server.address("postgres").conninfo
    with psycopg.connect(parameters, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {GITLAB} LOGIN")
        connection.execute(f"CREATE DATABASE {DATABASE} OWNER {GITLAB}")
    address = server.address(DATABASE, GITLAB)
    upgrade(address, Branch.GITLAB)
    with make_engine(address).begin() as connection:
        make_migration_row(connection)
        make_tokens(connection, 3, expires_at="2024-06-15")
        make_tokens(connection, 1, expires_at="2024-12-31")
        make_tokens(connection, 2)


def omnibus(
    root: Path,
    account: Account,
    *,
    host: str = "/var/opt/gitlab/postgresql",
    port: int = 5432,
    username: str = GITLAB,
    password: str | None = None,
    installation_type: str = "omnibus-gitlab",
    linked_from: Path | None = None,
) -> Path:
    """Lay out a Linux package below `root`, with `account` as GitLab's user; database.yml, the real file, is returned.

    `linked_from` is where `root` will be when it is used, for the absolute link to database.yml: `/` for an image.
    """
    _open_to_all(root)
    rails = root / "opt/gitlab/embedded/service/gitlab-rails"
    _rails(rails, installation_type, uid=0, gid=0)
    settings = root / "opt/gitlab/etc"
    _write(settings / "gitlab-rails-rc", f"gitlab_user='{account.name}'\ngitlab_group='{account.name}'\n")
    _folder(settings / "gitlab-rails", 0o700, account.uid, account.gid)
    variables = settings / "gitlab-rails/env"
    _folder(variables, 0o700, account.uid, account.gid)
    for name, value in {"HOME": "/var/opt/gitlab", "RAILS_ENV": "production"}.items():
        _write(variables / name, value)
    _folder(root / "opt/gitlab/bin", 0o755)
    _folder(root / "opt/gitlab/embedded/bin", 0o755)
    if chpst := shutil.which("chpst"):
        shutil.copy(chpst, root / "opt/gitlab/embedded/bin/chpst")
    home = root / "var/opt/gitlab/gitlab-rails"
    _folder(home, 0o700, account.uid, 0)
    _folder(home / "etc", 0o700, account.uid, 0)
    database_yml = home / "etc/database.yml"
    text = _packaged_database_yml(host=host, port=port, username=username, password=password)
    _write(database_yml, text, 0o640, 0, account.gid)
    seen = database_yml if linked_from is None else linked_from / database_yml.relative_to(root)
    (rails / "config/database.yml").symlink_to(seen)
    return database_yml


def source(
    root: Path,
    account: Account,
    *,
    host: str | None = None,
    port: int | None = None,
    username: str | None = None,
    password: str | None = None,
) -> Path:
    """Lay out an installation from source in `root`/home/git/gitlab, all of it the account's; database.yml is returned.

    What is None has no line in database.yml, as in GitLab's guide, and libpq's default counts.
    """
    _open_to_all(root)
    home = root / "home/git"
    _folder(home, 0o755, account.uid, account.gid)
    _rails(home / "gitlab", "source", account.uid, account.gid)
    database_yml = home / "gitlab/config/database.yml"
    text = _own_database_yml({"host": host, "port": port, "username": username, "password": password})
    _write(database_yml, text, 0o640, account.uid, account.gid)
    return database_yml


def distribution(
    root: Path, account: Account, *, host: str, port: int, settings: str | None = "etc/default/gitlab"
) -> Path:
    """Lay out a distribution's package below `root`: all is root's, database.yml for the account's group to read.

    `settings` is the file that names the account, None where there is none; the place of database.yml is returned.
    """
    _open_to_all(root)
    rails = root / "usr/share/gitlab"
    _rails(rails, "source", uid=0, gid=0)
    database_yml = root / "etc/gitlab/database.yml"
    text = _own_database_yml({"host": host, "port": port, "username": GITLAB, "password": None})
    _write(database_yml, text, 0o640, 0, account.gid)
    (rails / "config/database.yml").symlink_to(database_yml)
    if settings is not None:
        name = "app_user" if "default" in settings else "gitlab_user"
        _write(root / settings, f'{name}="{account.name}"\n')
    return database_yml


def toolbox(root: Path, **main: str | int) -> Path:
    """Lay out a toolbox pod below `root`, whose database.yml has what `main` says; that file is returned."""
    rails = root / "srv/gitlab"
    _rails(rails, "gitlab-cloud-native-image", uid=0, gid=0)
    database_yml = rails / "config/database.yml"
    _write(database_yml, json.dumps({"production": {"main": {"database": DATABASE, **main}}}))
    return database_yml


def _rails(folder: Path, installation_type: str, uid: int, gid: int) -> None:
    _folder(folder, 0o755, uid, gid)
    _folder(folder / "config", 0o755, uid, gid)
    _write(folder / "INSTALLATION_TYPE", f"{installation_type}\n", uid=uid, gid=gid)
    _write(folder / "VERSION", f"{VERSION}\n", uid=uid, gid=gid)
    _write(folder / "config/application.rb", "# GitLab's Rails application\n", uid=uid, gid=gid)


def _packaged_database_yml(*, host: str, port: int, username: str, password: str | None) -> str:
    """Every key, also those that have no value: that is how the package writes it."""
    values = {
        "adapter": "postgresql",
        "encoding": "unicode",
        "collation": "",
        "database": json.dumps(DATABASE),
        "username": json.dumps(username),
        "password": "" if password is None else json.dumps(password),
        "host": json.dumps(host),
        "port": str(port),
        "socket": "",
        "sslmode": "",
        "sslcompression": "0",
        "sslrootcert": "",
        "sslca": "",
        "load_balancing": '{"hosts":[]}',
        "prepared_statements": "false",
        "statement_limit": "1000",
        "connect_timeout": "",
        "keepalives": "",
        "keepalives_idle": "",
        "keepalives_interval": "",
        "keepalives_count": "",
        "tcp_user_timeout": "",
        "application_name": "",
    }
    lines = ["production:"]
    for name, tasks in (("main", "true"), ("ci", "false")):
        lines.append(f"  {name}:")
        lines += [f"    {key}: {value}".rstrip() for key, value in {**values, "database_tasks": tasks}.items()]
        lines += ["    variables:", "      statement_timeout:"]
    return "\n".join(lines) + "\n"


def _own_database_yml(given: Mapping[str, str | int | None]) -> str:
    """Only what somebody wrote, with an anchor for the tests' database beside it."""
    values = {"adapter": "postgresql", "encoding": "unicode", "database": DATABASE}
    values |= {key: json.dumps(value) for key, value in given.items() if value is not None}
    own = "\n".join(f"    {key}: {value}" for key, value in values.items())
    return f"""\
production:
  main:
{own}
  ci:
{own}
    database_tasks: false

test: &test
  main:
    adapter: postgresql
    database: gitlabhq_test

cucumber:
  <<: *test
"""


def _folder(path: Path, mode: int, uid: int = 0, gid: int = 0) -> None:
    for parent in reversed(path.parents):
        if not parent.exists():
            parent.mkdir()
            parent.chmod(0o755)  # whatever the umask is
    path.mkdir(exist_ok=True)
    os.chown(path, uid, gid)
    path.chmod(mode)


def _write(path: Path, text: str, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
    if not path.parent.exists():
        _folder(path.parent, 0o755)
    path.write_text(text)
    os.chown(path, uid, gid)
    path.chmod(mode)


def _open_to_all(root: Path) -> None:
    """Let everybody pass through `root` and the folders between it and the temporary one.

    pytest closes those of `tmp_path` again whenever another run starts: where that may be, take the fixture `folder`.
    """
    outermost = {Path(tempfile.gettempdir()), temporary()}
    for folder in (root, *root.parents):
        if folder in outermost:
            break
        if not outermost.isdisjoint(folder.parents):
            folder.chmod(folder.stat().st_mode | 0o111)


@contextmanager
def _shared_lock(path: Path) -> Iterator[TextIO]:
    while True:
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            try:
                current = os.path.samestat(path.stat(), os.fstat(lock.fileno()))
            except FileNotFoundError:
                current = False
            if current:  # else somebody removed it while we waited
                yield lock
                return


def _add(name: str) -> None:
    try:
        pwd.getpwnam(name)
    except KeyError:
        options = ("--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/sh")
        _change_accounts("useradd", *options, name)


def _change_accounts(*words: str) -> None:
    """useradd or userdel, tried again while somebody else has the machine's accounts locked."""
    deadline = time.monotonic() + _LOCK_TIMEOUT
    while True:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode == 0 or "already exists" in done.stderr:
            return
        if "try again later" not in done.stderr or time.monotonic() > deadline:
            raise RuntimeError(f"{words[0]} {words[-1]} ends with {done.returncode}: {done.stderr.strip()}")
        time.sleep(0.1)
