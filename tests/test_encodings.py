"""Databases and sessions in other encodings: the tasks ask for UTF-8, and what is stored otherwise is shown."""

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import timedelta

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.testbed import pgbouncer
from tests.testbed.addresses import url
from tests.testbed.commands import typed
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_migration_row, make_token, make_user
from tests.testbed.instance import SOON
from tests.testbed.marks import slow_ones
from tests.testbed.replication import Replicated
from tokens.address import Address
from tokens.upgrade import Branch, upgrade

ENCODINGS = ("UTF8", "LATIN1", "SQL_ASCII")
DAY, LATER = str(SOON), str(SOON + timedelta(1500))
# Each stores the bytes of "café" in its own way; the last two do not say what they mean.
NAMES = {
    "UTF8": "convert_from('\\x636166c3a9', 'UTF8')",
    "LATIN1": "convert_from('\\x636166e9', 'LATIN1')",
    "SQL_ASCII": "convert_from('\\x636166e9', 'SQL_ASCII')",
    "damaged": "CAST(CAST('\\x636166e9' AS bytea) AS text)",
}


def make_database(replicated: Replicated, encoding: str, token: str = "") -> Address:
    """GitLab's tables in this encoding; `damaged` is UTF-8 with bytes that it does not allow. `token`: a name's SQL."""
    name = f"in_{encoding.lower()}"
    with psycopg.connect(replicated.primary.address("postgres").conninfo, autocommit=True) as server:
        statement = sql.SQL(
            "CREATE DATABASE {} OWNER gitlab TEMPLATE template0 ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C'"
        )
        server.execute(statement.format(sql.Identifier(name), "UTF8" if encoding == "damaged" else encoding))
    address = replicated.primary.address(name, "gitlab")
    upgrade(address, Branch.GITLAB)
    upgrade(address, Branch.JOURNAL)
    with make_engine(address).begin() as connection:
        make_migration_row(connection)
        owner = make_user(connection, username="inventory", user_type=13)
        make_token(connection, user_id=owner, expires_at=DAY)
    superuser = make_conninfo(address.conninfo, user="postgres", client_encoding=encoding.replace("damaged", "UTF8"))
    with psycopg.connect(superuser) as connection:
        if encoding == "damaged":
            connection.execute("CREATE CAST (bytea AS text) WITHOUT FUNCTION")
        connection.execute(f"UPDATE public.personal_access_tokens SET name = {token or NAMES[encoding]}".encode())
    return address


@pytest.mark.slow
def test_a_character_that_utf8_or_the_database_lacks_is_one_line_with_the_encoding(
    replicated: Replicated, capsys: pytest.CaptureFixture[str]
) -> None:
    address = make_database(replicated, "WIN1252", "convert_from('\\x636166819d', 'WIN1252')")

    def ended(task: str, *words: str) -> tuple[int, str]:
        capsys.readouterr()
        return typed(task, "--target", url(address), *words), capsys.readouterr().err

    selected = ("--expires", DAY, "--kind", "service-account")
    for task, *words in (["analyze"], ["doctor"], ["extend", *selected, "--to", LATER, "--yes"], ["history"]):
        assert ended(task, *words) == (0, ""), task
    for task, *words in (["rotate", "--service-account", "inventory", "--dry-run"], ["history", "--run", "1"]):
        status, said = ended(task, *words)
        assert (status, said.count("\n")) == (1, 1), task
        assert "in_win1252, whose encoding is WIN1252, holds a text that is nothing in UTF-8" in said
    for options in (["--name", "ł*", "--dry-run"], ["--reason", "ł", "--yes"]):
        status, said = ended("remove", "--expires", LATER, *options)
        assert (status, said.count("\n")) == (2, 1), options
        assert "An option has a character that" in said
        assert "its encoding is WIN1252" in said
    assert ended("undo", "--run", "1", "--yes") == (0, "")
    with psycopg.connect(replicated.primary.address("postgres").conninfo, autocommit=True) as server:
        server.execute("DROP DATABASE in_win1252 WITH (FORCE)")


@pytest.fixture(scope="module")
def database(replicated: Replicated) -> Iterator[Callable[[str], Address]]:
    made: dict[str, Address] = {}

    def of(encoding: str) -> Address:
        if encoding not in made:
            made[encoding] = make_database(replicated, encoding)
        return made[encoding]

    yield of
    with psycopg.connect(replicated.primary.address("postgres").conninfo, autocommit=True) as server:
        server.execute("ALTER ROLE gitlab RESET client_encoding")
        for encoding in made:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(f"in_{encoding.lower()}")))


@pytest.mark.parametrize("encoding", [*ENCODINGS, "damaged"])
@pytest.mark.parametrize(
    ("asked", "route"),
    [
        (None, "direct"),
        *slow_ones(("variable", "direct"), ("role", "direct"), ("role", "pooled")),
    ],
)
def test_every_task_works_whatever_the_encoding_of_the_database_and_the_session(
    database: Callable[[str], Address],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    encoding: str,
    asked: str | None,
    route: str,
) -> None:
    if route == "pooled" and (reason := pgbouncer.missing()):
        pytest.skip(reason)
    address = database(encoding)
    name = "café" if encoding in ("UTF8", "LATIN1") else "caf\\xe9"
    with psycopg.connect(make_conninfo(address.conninfo, user="postgres"), autocommit=True) as superuser:
        superuser.execute(
            "ALTER ROLE gitlab SET client_encoding = 'SQL_ASCII'"
            if asked == "role"
            else "ALTER ROLE gitlab RESET client_encoding"
        )
        superuser.execute("DELETE FROM token_tasks.runs")
        superuser.execute(f"UPDATE public.personal_access_tokens SET expires_at = '{DAY}'")
    if asked == "variable":
        monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")

    def shown(task: str, *words: str) -> str:
        capsys.readouterr()
        assert typed(task, "--target", url(target), *words) == 0, capsys.readouterr()
        return capsys.readouterr().out

    with pgbouncer.pgbouncer(address, pool_size=1) if route == "pooled" else contextlib.nullcontext(address) as target:
        assert "Started at: 2023-06-15" in shown("analyze")
        assert "FAIL" not in shown("doctor")
        assert name in shown("rotate", "--service-account", "inventory", "--dry-run")
        document = shown("rotate", "--service-account", "inventory", "--dry-run", "--output", "json")
        assert name in json.dumps(json.loads(document), ensure_ascii=False).replace("\\\\", "\\")
        selected = ("--name", "caf*", "--state", "active,expired,revoked", "--kind", "service-account")
        shown("extend", "--expires", DAY, *selected, "--to", LATER, "--yes")
        with psycopg.connect(make_conninfo(address.conninfo, user="postgres")) as superuser:
            (run,) = superuser.execute("SELECT max(id) FROM token_tasks.runs").fetchone() or (0,)
        assert name in shown("history", "--run", str(run))
        shown("undo", "--run", str(run), "--yes")
