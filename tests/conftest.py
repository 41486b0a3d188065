"""Real PostgreSQL for every test: servers of our own, a fresh database for each test.

server               each of the servers in turn: PostgreSQL 18, 16 and those of --postgresql-bin
empty_database       an empty database, owned by and reached as the role `gitlab`, as in a real instance
gitlab_database      the same with GitLab's tables of the newest release, without rows
gitlab_database_at   gitlab_database for a given revision of the `gitlab` branch, or WITH_JOURNAL
alone                a server without a standby, PostgreSQL 18; databases on it are made on demand
replicated           a primary and a standby that streams from it, PostgreSQL 18, with databases in the same way
superuser            the same database, reached as `postgres`
bundles              a folder with the bundle of this code, as `tokens.bundle.directory` names it
gitlab_tokens        the bundle's program, unpacked where every account may run it
git                  an account of this machine that stands for GitLab's `git`
peer                 a server that knows people on its socket by their account, as GitLab's own does
pooled               gitlab_database through a PgBouncer whose clients share one session
docker_engine        a Docker engine of our own, with the images of tests/testbed/docker/image.py
gitlab_container     a running container in it that is shaped like GitLab's
instance             on the newest server alone, a GitLab with a journal and tokens, and the program against it
installed            another such database, with a journal; both empty
everything           the same with runs in it, and rows in each of its tables
syslog               a socket that takes the lines of syslog
ruby                 reads YAML and URLs by Debian's Ruby, as GitLab's reads them
"""

import ctypes
import functools
import itertools
import os
import re
import resource
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.testbed import accounts, pgbouncer, replication, servers
from tests.testbed import ruby as ruby_reader
from tests.testbed.docker import engine, image
from tests.testbed.docker.engine import Engine
from tests.testbed.docker.image import Container
from tests.testbed.folders import CLOSED_CHECKOUT, public_folder
from tests.testbed.journal import WITH_JOURNAL
from tests.testbed.replication import Replicated
from tests.testbed.ruby import Ruby
from tests.testbed.servers import GITLAB, Alone, create_database, create_role, drop_database, prepare
from tests.testbed.shared import once
from tokens.address import Address
from tokens.journal import setup
from tokens.secret import forbid_core_dumps
from tokens.targets.demo.embedded import SUPERUSER, Server
from tokens.targets.demo.programs import Account, packaged_binaries
from tokens.targets.there import bundle
from tokens.terminal.console import PATIENCE_VARIABLE

# How long an example takes is the machine's business, and a database that all of them use is cheaper than one each.
hypothesis.settings.register_profile("any machine", deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
hypothesis.settings.load_profile("any machine")

SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "256MB",
    "autovacuum": "off",
    "shared_buffers": "64MB",
}


# A run starts hundreds of processes: each of them would compile this checkout again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The readline of a process that runs tests in parallel sets these; a test's terminal has its own size.
for _name in ("COLUMNS", "LINES"):
    os.environ.pop(_name, None)

pytest_plugins = tuple(f"tests.testbed.{name}" for name in ("marks", "shared", "instance", "journal", "syslog"))

PR_GET_DUMPABLE = 3

_databases = itertools.count(1)


def pytest_configure() -> None:
    # A run in the background has these ignored and hands that on: Ctrl-C would reach no program under test.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # On a busy machine any work may take longer than the second after which it shows up.
    os.environ[PATIENCE_VARIABLE] = "600"


@pytest.fixture(scope="session")
def bundles() -> Path:
    def build(folder: Path) -> None:
        assert bundle.build(folder) == bundle.available(folder)

    return once("bundle", build)


@pytest.fixture(scope="session")
def gitlab_tokens(bundles: Path) -> Iterator[str]:
    found = bundle.available(bundles)
    assert found is not None
    with public_folder() as folder:
        with tarfile.open(found.path) as tar:
            tar.extractall(folder, filter="tar")
        yield str(folder / "gitlab-tokens")


@pytest.fixture(scope="session")
def git() -> Iterator[Account]:
    if reason := accounts.missing():
        pytest.skip(reason)
    with accounts.system_account() as account:
        yield account


@pytest.fixture(scope="session")
def peer(git: Account) -> Iterator[accounts.PeerServer]:
    with accounts.peer_server(git) as server:
        yield server


@pytest.fixture
def pooled(gitlab_database: Address) -> Iterator[Address]:
    if reason := pgbouncer.missing():
        pytest.skip(reason)
    with pgbouncer.pgbouncer(gitlab_database, pool_size=1) as through:
        yield through


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Engine]:
    if reason := engine.missing() or image.missing():
        pytest.skip(reason)
    with Engine() as started:
        image.build(started)
        image.build_other(started)
        yield started


@pytest.fixture(scope="session")
def gitlab_container(docker_engine: Engine) -> Iterator[Container]:
    with image.container(docker_engine, "gitlab") as started:
        yield started


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("CI") and CLOSED_CHECKOUT not in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"Nothing may skip here, but this did: {report.longrepr}"
    return report


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgresql-bin",
        action="append",
        default=[],
        metavar="DIR",
        help="run the database tests on this PostgreSQL too: a folder with initdb, pg_ctl and postgres (repeatable)",
    )
    parser.addoption(
        "--kills",
        type=int,
        default=17,
        metavar="N",
        help="how often test_durability.py kills a run on the newest PostgreSQL; with many take --timeout 0",
    )
    parser.addoption(
        "--update-golden", action="store_true", help="write the files that test_golden.py compares with anew"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" not in metafunc.fixturenames:
        return
    binaries = [packaged_binaries(18), packaged_binaries(16), *map(Path, metafunc.config.getoption("--postgresql-bin"))]
    if metafunc.definition.get_closest_marker("newest_server"):
        del binaries[1:]
    ids = [f"pg{_major(folder)}" for folder in binaries]
    metafunc.parametrize("server", binaries, ids=ids, indirect=True, scope="session")


@pytest.fixture(autouse=True, scope="session")
def _no_libpq_variables() -> None:
    """The developer's own PGHOST, PGOPTIONS and the like must not reach the tests."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


@pytest.fixture(autouse=True, scope="session")
def _forbids_only_others_core_dumps() -> Iterator[None]:
    """A task in this very process must not forbid its core dumps: even root may be unable to allow them again.

    Then every later test would begin without what it is to prove. Those tests start processes, which have the real one.
    """
    with pytest.MonkeyPatch.context() as patch:
        # The code, since rooms that are imported already hold the function itself.
        patch.setattr(forbid_core_dumps, "__code__", (lambda: None).__code__)
        yield


@pytest.fixture(autouse=True)
def _leaves_this_process_as_it_is() -> Iterator[None]:
    """Whatever a test lowers for this process, it lowers for every test after it."""
    before = _bounds()
    yield
    assert _bounds() == before


def _bounds() -> object:
    """This process's limits, and whether it may be dumped."""
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    limits = {name: resource.getrlimit(getattr(resource, name)) for name in names}
    return limits, ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short, public temporary folder in which a test may start a server of its own."""
    with public_folder() as path:
        yield path


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with public_folder() as path:
        started = prepare(Server(path / "pg", binaries=request.param, settings=SETTINGS), request.param)
        started.start()
        try:
            create_role(started)
            yield started
        finally:
            servers.remove(started)


@pytest.fixture
def empty_database(server: Server) -> Iterator[Address]:
    with _database(server) as address:
        yield address


@pytest.fixture
def gitlab_database(gitlab_database_at: Callable[[str], Address]) -> Address:
    return gitlab_database_at("head")


@pytest.fixture
def gitlab_database_at(server: Server, _templates: dict[tuple[Path, str], str]) -> Iterator[Callable[[str], Address]]:
    made: list[Any] = []

    def make(revision: str) -> Address:
        key = (server.folder, revision)
        if key not in _templates:
            _templates[key] = _make_template(server, revision, _templates)
        database = _database(server, template=_templates[key])
        address = database.__enter__()
        made.append(database)
        return address

    yield make
    for database in made:
        database.__exit__(None, None, None)


@pytest.fixture(scope="session")
def alone() -> Iterator[Alone]:
    with public_folder() as path, servers.running_alone(path) as one:
        yield one


@pytest.fixture(scope="session")
def replicated() -> Iterator[Replicated]:
    with public_folder() as path, replication.replication(path) as both:
        yield both


@pytest.fixture(scope="session")
def superuser() -> Callable[[Address], Address]:
    def as_superuser(address: Address) -> Address:
        return Address(make_conninfo(address.conninfo, user=SUPERUSER), address.shown)

    return as_superuser


@pytest.fixture(scope="session")
def _templates() -> dict[tuple[Path, str], str]:
    """Databases with GitLab's tables, made once for each server and revision."""
    return {}


def _make_template(server: Server, revision: str, templates: dict[tuple[Path, str], str]) -> str:
    from tokens.upgrade import Branch, revisions, upgrade  # Alembic, and only where tables are wanted

    name = f"template_{next(_databases)}"
    journal = revision == WITH_JOURNAL
    revision = "head" if journal else revision
    # From the nearest release below that is there, so that a worker makes each step once and not once for each release.
    order = revisions(Branch.GITLAB)
    below = order[: order.index(revision)] if revision in order else (*order, "head")
    made = [templates[server.folder, one] for one in below if (server.folder, one) in templates]
    create_database(server, name, made[-1] if made else "template1")
    upgrade(server.address(name, GITLAB), Branch.GITLAB, revision=revision)
    if journal:
        setup.install(server.address(name, GITLAB))
    # Statistics and hint bits once, not in every copy.
    with psycopg.connect(server.address(name).conninfo, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    return name


@contextmanager
def _database(server: Server, template: str = "template1") -> Iterator[Address]:
    name = f"gitlabhq_{next(_databases)}"
    create_database(server, name, template)
    try:
        yield server.address(name, GITLAB)
    finally:
        drop_database(server, name)


@functools.cache  # else a process for each test
def _major(binaries: Path) -> str:
    shown = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\) (\d+)", shown)
    return found[1] if found else binaries.parent.name


@pytest.fixture(scope="session")
def ruby() -> Ruby:
    read = ruby_reader.reader()
    if read is None:
        pytest.skip("there is no ruby here to compare with")
    return read
