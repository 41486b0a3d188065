"""How an address becomes a login: which of libpq's variables count, and that nobody else notices."""

import gc
import os
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from tests.testbed import pgbouncer
from tests.testbed.accounts import run_as
from tests.testbed.gitlab_api import Authority, make_authority
from tokens.address import Address
from tokens.database import Connection, connect
from tokens.database.driver import login
from tokens.database.failures import one_line
from tokens.errors import DatabaseError, StatementTimeout
from tokens.targets.demo.programs import Account

BY_GETENV = ("PGREQUIRESSL", "PGSERVICEFILE", "PGSYSCONFDIR", "PGDATESTYLE", "PGTZ", "PGGEQO", "PGLOCALEDIR")
"""libpq's variables that belong to no parameter."""
MISLEADING = {
    **{option.envvar.decode(): "nonsense" for option in Conninfo.get_defaults() if option.envvar},
    **dict.fromkeys(BY_GETENV, "nonsense"),
    "PGREQUIRESSL": "1",
    "PGHOSTADDR": "192.0.2.1,192.0.2.2",
    "PGOPTIONS": "-c nonsense=1",
    "PGREQUIREAUTH": "gss",
    "PGTARGETSESSIONATTRS": "standby",
}


def complete(address: Address) -> Address:
    return Address(address.conninfo, address.shown, complete=True)


def session(address: Address) -> tuple[object, ...]:
    """Where a login leads, and what it is like there before a transaction begins."""
    settings = ("TimeZone", "DateStyle", "geqo", "client_encoding", "application_name")
    with connect(address):
        pass  # whose errors are ours
    with login(address, autocommit=True) as driver:
        questions = ["SELECT current_user, current_database()", *(f"SHOW {name}" for name in settings)]
        return tuple(driver.execute(question.encode()).fetchone() for question in questions)


@pytest.mark.newest_server
def test_no_variable_reaches_an_address_that_is_complete(
    gitlab_database: Address, pooled: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in map(complete, (gitlab_database, pooled)):
        expected = session(address)
        for name, value in MISLEADING.items():
            with monkeypatch.context() as one:
                one.setenv(name, value)
                assert session(address) == expected, name
                assert os.environ[name] == value
        with monkeypatch.context() as everything:
            for name, value in MISLEADING.items():
                everything.setenv(name, value)
            for _ in range(2):
                assert session(address) == expected
            started = subprocess.run(["env", "-0"], env=os.environ, capture_output=True, text=True, check=True).stdout
            assert set(started.split("\0")) >= {f"{name}={value}" for name, value in MISLEADING.items()}


@pytest.mark.newest_server
def test_an_address_that_leaves_something_open_gets_it_from_the_variables_but_is_not_led_astray(
    gitlab_database: Address, pooled: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in (gitlab_database, pooled):
        expected = session(complete(address))
        parts = conninfo_to_dict(address.conninfo)
        with monkeypatch.context() as variables:
            for name in ("PGOPTIONS", "PGHOSTADDR"):
                variables.setenv(name, MISLEADING[name])
            assert session(Address(address.conninfo, "there")) == expected
            variables.setenv("PGHOST", str(parts["host"]))
            variables.setenv("PGPORT", str(parts["port"]))
            variables.setenv("PGUSER", str(parts["user"]))
            assert session(Address(f"dbname={parts['dbname']}", "there")) == expected
            variables.setenv("PGUSER", "nobody-here")
            with pytest.raises(DatabaseError):
                session(Address(f"dbname={parts['dbname']}", "there"))


@pytest.mark.newest_server
def test_a_service_counts_for_an_open_address_also_after_one_that_must_not_see_it(
    gitlab_database: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = session(complete(gitlab_database))
    parts = conninfo_to_dict(gitlab_database.conninfo)
    lines = (f"{name}={value}" for name, value in parts.items() if name != "dbname")
    (tmp_path / "services").write_text("\n".join(["[here]", *lines, "[other]", "host=/nowhere", ""]))
    opened = Address(f"dbname={parts['dbname']}", "there")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    monkeypatch.setenv("PGSERVICE", "here")
    assert session(opened) == expected
    assert session(complete(gitlab_database)) == expected
    assert session(opened) == expected
    monkeypatch.setenv("PGSERVICE", "other")
    with pytest.raises(DatabaseError, match="/nowhere"):
        session(opened)
    assert session(Address(f"dbname={parts['dbname']} service=here", "there")) == expected


@pytest.mark.newest_server
def test_the_environment_is_whole_at_every_moment_while_others_log_in(
    gitlab_database: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in MISLEADING.items():
        monkeypatch.setenv(name, value)
    address, before, faults = complete(gitlab_database), dict(os.environb), list[Exception]()
    expected = session(address)

    def log_in() -> None:
        try:
            assert all(session(address) == expected for _ in range(20))
        except Exception as fault:
            faults.append(fault)

    threads = [threading.Thread(target=log_in) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert dict(os.environb) == before
    for thread in threads:
        thread.join()
    assert faults == []
    assert dict(os.environb) == before


@pytest.fixture
def authority(folder: Path) -> Authority:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    return make_authority(folder)


@pytest.fixture
def by_tls(gitlab_database: Address, authority: Authority) -> Iterator[Address]:
    """The database on localhost, by TLS only, with a certificate of an authority that nobody trusts yet."""
    if reason := pgbouncer.missing():
        pytest.skip(reason)
    certificate = authority.certificate()
    with pgbouncer.pgbouncer(gitlab_database, certificate=(certificate.path, certificate.key)) as through:
        yield through


LOGIN = """\
import sys
from tokens import database
from tokens.address import Address
from tokens.database import libpq
from tokens.errors import TokensError

libpq.SYSTEM_CERTIFICATES = ("/nowhere", sys.argv[2])
try:
    with database.connect(Address(sys.argv[1], "here")) as connection, connection.transaction():
        print(connection.row("SELECT 1")[0])
except TokensError as error:
    print(error)
"""


def login_elsewhere(address: Address, certificates: Path, more: str = "", **variables: str) -> str:
    """What a login in a process of its own comes to; its variables are there for good."""
    command = [sys.executable, "-c", LOGIN, f"{address.conninfo} {more}", str(certificates)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SSL_CERT", "PG"))}
    return subprocess.run(command, env=kept | variables, capture_output=True, text=True, check=True).stdout


@pytest.mark.newest_server
@pytest.mark.slow
def test_the_systems_certificates_are_those_of_the_system(
    by_tls: Address, authority: Authority, tmp_path: Path
) -> None:
    system = "sslrootcert=system"
    assert login_elsewhere(by_tls, authority.path, system) == "1\n"
    assert login_elsewhere(by_tls, authority.path, PGSSLROOTCERT="system") == "1\n"
    assert "certificate verify failed" in login_elsewhere(by_tls, tmp_path, system)
    # What the caller says counts, and so does libpq's rule that this is for verify-full alone.
    assert "certificate verify failed" in login_elsewhere(by_tls, authority.path, system, SSL_CERT_FILE="/dev/null")
    assert login_elsewhere(by_tls, tmp_path, system, SSL_CERT_FILE=str(authority.path)) == "1\n"
    assert 'weak sslmode "require"' in login_elsewhere(by_tls, authority.path, f"{system} sslmode=require")
    wrong_name = f"{system} host=other.example hostaddr=127.0.0.1"
    assert "does not match host name" in login_elsewhere(by_tls, authority.path, wrong_name)


@pytest.mark.newest_server
def test_a_program_that_is_started_after_a_login_has_the_callers_variables(gitlab_database: Address) -> None:
    login = LOGIN + "import subprocess\nprint(subprocess.run(['env'], capture_output=True, text=True).stdout)\n"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SSL_CERT")}
    command = [sys.executable, "-c", login, gitlab_database.conninfo, __file__]
    printed = subprocess.run(command, env=kept, capture_output=True, text=True, check=True).stdout
    assert printed.startswith("1\n")
    assert "\nSSL_CERT" not in printed


def test_what_libpq_was_answered_with_tls_and_without_is_said_once() -> None:
    answer = 'connection to server at "10.0.0.5", port 5432 failed: FATAL:  database "x" does not exist'
    asked_twice = psycopg.OperationalError(f"connection failed: {answer}\n{answer}\n")
    assert one_line(asked_twice) == f"connection failed: {answer}"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "consuming input failed: server closed the connection unexpectedly\n\tThis probably means the server "
            "terminated abnormally\n\tbefore or while processing the request.",
            "server closed the connection unexpectedly",
        ),
        (
            'connection is bad: connection to server on socket "/run/.s.PGSQL.6432" failed: Connection refused\n'
            "\tIs the server running locally and accepting connections on that socket?",
            'connection to server on socket "/run/.s.PGSQL.6432" failed: Connection refused',
        ),
    ],
)
def test_libpqs_advice_and_the_drivers_own_words_are_left_out(said: str, line: str) -> None:
    assert one_line(psycopg.OperationalError(said)) == line


@pytest.mark.newest_server
def test_a_home_that_this_account_may_not_enter_does_not_hinder_tls(
    by_tls: Address, gitlab_tokens: str, git: Account, folder: Path
) -> None:
    home = folder / "root"
    home.mkdir(0o700)
    target = f"{by_tls.conninfo} sslmode=require"
    words = dict(word.split("=", 1) for word in target.split())
    url = f"postgresql://{words['user']}@localhost:{words['port']}/{words['dbname']}?sslmode=require"
    for account_home in (home, home / "inside"):
        done = run_as(git, gitlab_tokens, "analyze", "--target", url, env={"HOME": str(account_home)})
        assert (done.returncode, done.stderr) == (0, "")


def test_what_is_set_for_a_part_of_a_transaction_holds_there_alone(gitlab_database: Address) -> None:
    def now(connection: Connection) -> tuple[str, str]:
        row = connection.row(
            "SELECT current_setting('statement_timeout') AS timeout, current_setting('enable_sort') AS sort"
        )
        return row.timeout, row.sort

    with connect(gitlab_database) as connection, connection.transaction(statement_timeout="20s"):
        with connection.transaction(statement_timeout="300ms", enable_sort="off"):
            assert now(connection) == ("300ms", "off")
        assert now(connection) == ("20s", "on")
        with pytest.raises(StatementTimeout), connection.transaction(statement_timeout="10ms"):
            connection.row("SELECT count(*) FROM generate_series(1, 100000000)")
        assert now(connection) == ("20s", "on")


@pytest.mark.parametrize(("set_to", "holds"), [("off", "local"), ("local", "local"), ("on", "on"), ("false", "local")])
def test_a_commit_is_on_a_disk_before_anybody_is_told(gitlab_database: Address, set_to: str, holds: str) -> None:
    with psycopg.connect(gitlab_database.conninfo) as other:
        alter = f'ALTER DATABASE "{other.info.dbname}" SET synchronous_commit = {set_to}'
        other.execute(alter.encode())
    with connect(gitlab_database) as connection:
        for _ in range(2):
            with connection.transaction():
                assert connection.row("SELECT current_setting('synchronous_commit') AS is_now").is_now == holds


@pytest.mark.newest_server
def test_what_is_left_of_a_login_goes_at_once(gitlab_database: Address) -> None:
    gc.disable()
    try:
        with connect(gitlab_database) as connection, connection.transaction():
            left = weakref.ref(connection)
        del connection
        assert left() is None
    finally:
        gc.enable()
