"""Images and containers for tests, made without a registry: one that is shaped like GitLab's, and one that is none.

No image holds a root file system: each container has the machine's own /usr, read-only. So PostgreSQL runs inside as it
is installed outside, and an image is built in the time that its database takes.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.testbed.accounts import (
    DATABASE,
    GITLAB,
    PACKAGED_TIMEOUTS,
    PEER_HBA,
    make_production_database,
    omnibus,
    peer_ident,
)
from tests.testbed.docker.engine import Engine, EngineError
from tests.testbed.folders import public_folder
from tokens.targets.demo.embedded import Server
from tokens.targets.demo.programs import Account

GITLAB_IMAGE = "gitlab/gitlab-ee:19.2.1-ee.0"
OTHER_IMAGE = "other:1"
LABELS = {
    "org.opencontainers.image.source": "https://gitlab.com/gitlab-org/omnibus-gitlab",
    "org.opencontainers.image.title": "GitLab Omnibus Docker",
}
"""What GitLab's image has said of itself since about 17.6."""

GIT = Account("git", 998, 998)
PSQL = Account("gitlab-psql", 996, 996)
SOCKETS = "/var/opt/gitlab/postgresql"

USR = "--volume=/usr:/usr:ro"
RUN = ("--network=none", USR)
"""What `docker run` needs for any container of these images."""

_FOLDERS = ("/etc/gitlab", "/var/opt/gitlab", "/var/log/gitlab")
"""Volumes of the real image. Here they are that only under a read-only root: to fill one costs a second."""

_PATH = "/opt/gitlab/embedded/bin:/opt/gitlab/bin:/assets:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_START_TIMEOUT = 60  # seconds

_PASSWD = f"""\
root:x:0:0:root:/root:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
{GIT.name}:x:{GIT.uid}:{GIT.gid}::/var/opt/gitlab:/bin/sh
{PSQL.name}:x:{PSQL.uid}:{PSQL.gid}::{SOCKETS}:/bin/sh
"""

_GROUP = f"""\
root:x:0:
nogroup:x:65534:
{GIT.name}:x:{GIT.gid}:
{PSQL.name}:x:{PSQL.gid}:
"""

_INIT = """\
#!/bin/sh
# The first process: PostgreSQL as its own account, ended in order when the container is stopped.
trap 'kill -INT "$server"; wait "$server"; exit 0' TERM
setpriv --reuid {user} --regid {user} --clear-groups {postgres} -D {data} &
server=$!
wait "$server"
"""


def missing() -> str | None:
    """Why no image can be built here, beside what an engine needs; None if one can."""
    if _binaries() is None:
        return "the containers need PostgreSQL below /usr/lib/postgresql (Debian: postgresql-15)"
    if not Path("/bin").is_symlink():
        return "the containers need a machine whose /bin lies in /usr"
    return None


def build(engine: Engine, image: str = GITLAB_IMAGE, labels: Mapping[str, str] = LABELS) -> str:
    """Make the image that is shaped like GitLab's and give its name back."""
    with _folder() as folder:
        root = folder / "root"
        _skeleton(root)
        omnibus(root, GIT, host=SOCKETS, installation_type="gitlab-docker", linked_from=Path("/"))
        programs = root / "opt/gitlab/embedded/bin"
        _link(programs / "python3", "/usr/bin/python3")
        _link(programs / "psql", f"{_found_binaries()}/psql")
        _write(root / "RELEASE", "RELEASE_PACKAGE=gitlab-ee\nRELEASE_VERSION=19.2.1-ee.0\n")
        for name in _FOLDERS:
            (root / name.lstrip("/")).mkdir(parents=True, exist_ok=True)
        data = root / SOCKETS.lstrip("/") / "data"
        data.parent.mkdir()
        _database(folder / "server", data)
        for path in (data.parent, data, *data.rglob("*")):
            os.chown(path, PSQL.uid, PSQL.gid, follow_symlinks=False)
        init = root / "assets/init-container"
        postgres = f"{_found_binaries()}/postgres"
        _write(init, _INIT.format(user=PSQL.name, postgres=postgres, data=f"{SOCKETS}/data"), 0o755)
        changes = [f"LABEL {name}={_quoted(value)}" for name, value in labels.items()]
        changes += [f"ENV PATH={_PATH}", "ENV LANG=C.UTF-8", "ENV TERM=xterm", 'CMD ["/assets/init-container"]']
        return _import(engine, root, image, changes)


def build_other(engine: Engine, image: str = OTHER_IMAGE) -> str:
    """Make an image that has nothing of GitLab's and only sleeps, and give its name back."""
    with _folder() as folder:
        _skeleton(folder / "root")
        return _import(engine, folder / "root", image, ['CMD ["sleep", "infinity"]'])


@dataclass(frozen=True)
class Container:
    """A container, running or not; it is removed at the end of the block that made it."""

    engine: Engine
    name: str

    def exec(self, *words: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program in it, without input: what it prints, and docker's exit status."""
        options = [] if user is None else ["--user", user]
        return self.engine.docker("exec", *options, self.name, *words, check=False)

    def rows(self, statement: str) -> list[str]:
        """What a statement returns from GitLab's database inside, as the role `gitlab`: a line for each row."""
        done = self.exec(*_psql(statement), user=GIT.name)
        if done.returncode != 0:
            raise EngineError(f"psql in {self.name} ends with {done.returncode}: {done.stderr}")
        return done.stdout.splitlines()


@contextmanager
def container(engine: Engine, name: str, *options: str, image: str = GITLAB_IMAGE) -> Iterator[Container]:
    """A running GitLab container whose PostgreSQL answers; `options` are further words for `docker run`."""
    with _running(engine, name, *options, image) as started:
        _wait_until_ready(started)
        yield started


@contextmanager
def hosted_container(engine: Engine, name: str, *, image: str = GITLAB_IMAGE) -> Iterator[Container]:
    """The same with the machine's own network."""
    with _started(engine, name, "--network=host", USR, image) as started:
        _wait_until_ready(started)
        yield started


@contextmanager
def closed_container(engine: Engine, name: str, *, image: str = GITLAB_IMAGE) -> Iterator[Container]:
    """The same with a read-only root, where only GitLab's volumes can be written and /tmp forbids execution."""
    volumes = [f"--volume={name}" for name in _FOLDERS]
    with container(engine, name, "--read-only", "--tmpfs=/tmp:noexec", *volumes, image=image) as started:
        yield started


@contextmanager
def stopped_container(engine: Engine, name: str, *, image: str = GITLAB_IMAGE) -> Iterator[Container]:
    """A GitLab container that ran and was stopped."""
    with container(engine, name, image=image) as started:
        engine.docker("stop", name)
        yield started


@contextmanager
def other_container(engine: Engine, name: str, *options: str, image: str = OTHER_IMAGE) -> Iterator[Container]:
    """A running container that is no GitLab."""
    with _running(engine, name, *options, image) as started:
        yield started


@contextmanager
def _running(engine: Engine, name: str, *words: str) -> Iterator[Container]:
    with _started(engine, name, *RUN, *words) as started:
        yield started


@contextmanager
def _started(engine: Engine, name: str, *words: str) -> Iterator[Container]:
    try:
        engine.docker("run", "--detach", f"--name={name}", *words)
        yield Container(engine, name)
    finally:
        engine.docker("rm", "--force", "--volumes", name, check=False)


def _wait_until_ready(started: Container) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while (done := started.exec(*_psql("SELECT 1"), user=GIT.name)).returncode != 0:
        if time.monotonic() > deadline:
            said = started.engine.docker("logs", started.name, check=False)
            raise EngineError(f"PostgreSQL in {started.name} does not answer: {done.stderr}{said.stderr}")
        time.sleep(0.05)


def _psql(statement: str) -> list[str]:
    return ["psql", "-XAtq", "-h", SOCKETS, "-U", GITLAB, "-d", DATABASE, "-c", statement]


def _binaries() -> Path | None:
    """The newest PostgreSQL programs of the machine, in Debian's place."""
    found = [folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if (folder / "postgres").exists()]
    return max(found, key=lambda folder: int(folder.parent.name), default=None)


def _found_binaries() -> Path:
    binaries = _binaries()
    if binaries is None:
        raise EngineError(str(missing()))
    return binaries


def _database(folder: Path, data: Path) -> None:
    """GitLab's data folder, made by a server outside and set up for the accounts inside."""
    server = Server(folder, binaries=_found_binaries(), settings={"fsync": "off", "autovacuum": "off"})
    try:
        server.start()
        make_production_database(server)
        with psycopg.connect(server.address("postgres").conninfo, autocommit=True) as connection:
            connection.execute(f'CREATE ROLE "{PSQL.name}" LOGIN SUPERUSER')
        server.stop()
        (server.folder / "data").rename(data)
    finally:
        server.remove()
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": SOCKETS,
        "fsync": "off",
        "jit": "off",
        "shared_buffers": "16MB",
        "timezone": "UTC",
        "log_timezone": "UTC",
        **PACKAGED_TIMEOUTS,
    }
    (data / "postgresql.conf").write_text("".join(f"{name} = '{value}'\n" for name, value in settings.items()))
    (data / "pg_hba.conf").write_text(PEER_HBA)
    (data / "pg_ident.conf").write_text(peer_ident(GIT.name))


def _skeleton(root: Path) -> None:
    """What a root file system has outside /usr, as far as programs in /usr need it."""
    for name in ("usr", "etc", "dev", "proc", "sys", "run", "var/lib"):
        (root / name).mkdir(parents=True)
    for name in ("tmp", "var/tmp"):
        (root / name).mkdir()
        (root / name).chmod(0o1777)
    (root / "root").mkdir(mode=0o700)
    _link(root / "var/run", "/run")
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        if Path("/", name).is_symlink():
            _link(root / name, os.readlink(f"/{name}"))
    _write(root / "etc/passwd", _PASSWD)
    _write(root / "etc/group", _GROUP)
    _write(root / "etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")
    shutil.copy("/etc/ld.so.cache", root / "etc/ld.so.cache")
    if Path("/etc/alternatives").is_dir():
        shutil.copytree("/etc/alternatives", root / "etc/alternatives", symlinks=True)


def _import(engine: Engine, root: Path, image: str, changes: list[str]) -> str:
    words = [word for change in changes for word in ("--change", change)]
    with subprocess.Popen(["tar", "--numeric-owner", "-C", root, "-c", "."], stdout=subprocess.PIPE) as archive:
        assert archive.stdout is not None
        engine.docker("import", *words, "-", image, stdin=archive.stdout)
    if archive.returncode != 0:
        raise EngineError(f"tar ends with {archive.returncode}")
    return image


@contextmanager
def _folder() -> Iterator[Path]:
    """A public folder, under a umask that closes nothing in it."""
    umask = os.umask(0o022)
    try:
        with public_folder() as path:
            yield path
    finally:
        os.umask(umask)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
