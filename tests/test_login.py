"""A login that fails: what the advice is does not depend on the language in which the server speaks."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.testbed.commands import typed
from tests.testbed.folders import public_folder
from tests.testbed.marks import slow_ones
from tests.testbed.program import GITLAB_TOKENS, call
from tests.testbed.servers import Alone
from tokens.address import Address, Advice
from tokens.database import connect
from tokens.database.failures import LET_MORE_IN, TAKEN, UNLESS_FULL
from tokens.database.libpq import libpq_parameters
from tokens.errors import DatabaseError
from tokens.targets.demo.embedded import Server

pytestmark = pytest.mark.xdist_group("login")

DEBIAN = Path("/usr/lib/postgresql/15/bin")
"""The only PostgreSQL of the tests that has translations."""
GERMAN = "de_DE.UTF-8"
HBA = "local all postgres trust\nlocal all worker peer\nlocal all clerk trust\nlocal all all scram-sha-256\n"
ADVICE = Advice()


@pytest.fixture(scope="module", params=["C", GERMAN])
def speaking(request: pytest.FixtureRequest) -> Iterator[Server]:
    if not (DEBIAN / "postgres").exists():
        pytest.skip("there is no PostgreSQL of Debian here (postgresql-15)")
    if "de_DE.utf8" not in subprocess.run(["locale", "-a"], capture_output=True, text=True, check=True).stdout:
        pytest.skip(f"there is no locale {GERMAN} here (Debian: locales; localedef -i de_DE -f UTF-8 {GERMAN})")
    with public_folder() as folder:
        server = Server(folder / "pg", binaries=DEBIAN, settings={"fsync": "off", "lc_messages": request.param})
        server.start()
        try:
            with psycopg.connect(server.address("postgres").conninfo, autocommit=True) as connection:
                connection.execute("CREATE ROLE gitlab LOGIN PASSWORD 'right'")
                connection.execute("CREATE ROLE worker LOGIN")
                connection.execute("CREATE ROLE full LOGIN CONNECTION LIMIT 0 PASSWORD 'right'")
                connection.execute("CREATE ROLE clerk LOGIN CONNECTION LIMIT 0")
                connection.execute("CREATE DATABASE closed ALLOW_CONNECTIONS false")
                connection.execute("CREATE DATABASE crowded CONNECTION LIMIT 0")
            (server.folder / "data" / "pg_hba.conf").write_text(HBA)
            with psycopg.connect(server.address("postgres").conninfo, autocommit=True) as connection:
                connection.execute("SELECT pg_reload_conf()")
            yield server
        finally:
            server.remove()


@pytest.mark.parametrize(
    ("role", "password", "database", "advice"),
    [
        ("gitlab", "wrong", "postgres", ADVICE.password),
        ("worker", None, "postgres", ADVICE.peer),
        *slow_ones(
            ("nobody", "wrong", "postgres", ADVICE.password),
            ("gitlab", None, "postgres", ADVICE.password),
            ("gitlab", "right", "nowhere", "check the database's name"),
            ("gitlab", "right", "closed", "check the database's name"),
        ),
    ],
)
def test_the_advice_is_the_same_in_every_language(
    speaking: Server, role: str, password: str | None, database: str, advice: str
) -> None:
    conninfo = make_conninfo(speaking.address(database, role).conninfo, password=password)
    with pytest.raises(DatabaseError) as fault, connect(Address(conninfo, "there", complete=True)):
        pass
    assert f"; {advice}" in str(fault.value), fault.value


@pytest.mark.parametrize(
    ("role", "database"),
    [("clerk", "postgres"), ("full", "postgres"), ("gitlab", "crowded")],
)
def test_a_limit_of_connections_is_not_taken_for_a_login_that_is_rejected(
    speaking: Server, role: str, database: str
) -> None:
    """In English it is known to be one; in another language the advice leaves that open, and names it."""
    conninfo = make_conninfo(speaking.address(database, role).conninfo, password="right")
    with pytest.raises(DatabaseError) as fault, connect(Address(conninfo, "there", complete=True)):
        pass
    said = str(fault.value)
    if "too many connections for" in said:
        assert said.endswith(f"; {LET_MORE_IN}.")
    elif database == "crowded":
        assert said.endswith("that it takes more connections, and that the role may connect to it.")
    else:
        assert said.endswith(f"{UNLESS_FULL}.")


@pytest.mark.parametrize(("limit", "name"), [("ROLE", "gitlab"), ("DATABASE", None)])
def test_a_limit_of_connections_is_told_in_english(
    alone: Alone, superuser: Callable[[Address], Address], limit: str, name: str | None
) -> None:
    with alone.database() as address, psycopg.connect(superuser(address).conninfo, autocommit=True) as connection:
        of = f"{limit} {name or conninfo_to_dict(address.conninfo)['dbname']}"
        connection.execute(f"ALTER {of} CONNECTION LIMIT 0")
        try:
            with pytest.raises(DatabaseError) as fault, connect(address):
                pass
        finally:
            connection.execute(f"ALTER {of} CONNECTION LIMIT -1")
    assert f"too many connections for {limit.lower()}" in str(fault.value)
    assert str(fault.value).endswith(f"; {LET_MORE_IN}.")


def test_a_database_that_takes_no_connections_is_not_only_a_wrong_name(
    alone: Alone, superuser: Callable[[Address], Address]
) -> None:
    with alone.database() as address:
        name = conninfo_to_dict(address.conninfo)["dbname"]
        of_all = make_conninfo(superuser(address).conninfo, dbname="postgres")
        with psycopg.connect(of_all, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            try:
                with pytest.raises(DatabaseError, match="that it takes more connections"), connect(address):
                    pass
            finally:
                connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def test_what_a_server_answers_is_never_advised_with_looking_whether_it_runs(speaking: Server) -> None:
    conninfo = make_conninfo(speaking.address("postgres", "full").conninfo, password="right")
    with pytest.raises(DatabaseError) as fault, connect(Address(conninfo, "there", complete=True)):
        pass
    assert ADVICE.unreachable not in str(fault.value)


def test_nobody_who_answers_is_advised_to_look_whether_the_server_runs() -> None:
    with pytest.raises(DatabaseError, match=ADVICE.unreachable), connect(Address("host=/nowhere", "there")):
        pass


PARAMETERS = ("keepalives", "tcp_user_timeout", "connect_timeout", *TAKEN)


@pytest.mark.parametrize("parameter", [one for one in PARAMETERS if one in libpq_parameters()])
def test_a_value_that_a_parameter_does_not_take_is_not_repeated(
    capsys: pytest.CaptureFixture[str], parameter: str
) -> None:
    target = f"postgresql://gitlab@127.0.0.1:1/x?{parameter}=s3cret"
    assert typed("analyze", "--target", target) == 2
    said = "".join(capsys.readouterr())
    assert f"{parameter} takes {TAKEN.get(parameter, 'a whole number')}, and has another value there" in said
    assert "s3cret" not in said


def test_a_value_that_is_not_taken_is_not_in_a_traceback() -> None:
    done = call(GITLAB_TOKENS, "--debug", "analyze", "--target", "postgresql://gitlab@127.0.0.1:1/x?sslmode=s3cret")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr
