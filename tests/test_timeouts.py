"""Timeouts that a role or a database brings along: they do no harm, or the message says how to be rid of them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.addresses import url
from tests.commands import typed
from tests.replication import Replicated
from tests.test_planted import NEXT_YEAR, SOON, fill, rotation
from tokens import database
from tokens.address import Address
from tokens.database import connect
from tokens.engine import transaction
from tokens.errors import ConnectionLost, DatabaseError

SETTINGS = (
    "statement_timeout",
    "lock_timeout",
    "transaction_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
)


@pytest.fixture
def address(replicated: Replicated) -> Iterator[Address]:
    with replicated.database() as pair:
        fill(pair.primary)
        yield pair.primary


@pytest.fixture
def set_timeout(address: Address, superuser: Callable[[Address], Address]) -> Callable[[str, str], None]:
    def set_timeout(name: str, value: str) -> None:
        with psycopg.connect(superuser(address).conninfo) as connection:
            statement = sql.SQL("ALTER ROLE gitlab IN DATABASE {} SET {} = {}")
            name_of_database = sql.Identifier(connection.info.dbname)
            connection.execute(statement.format(name_of_database, sql.Identifier(name), value))

    return set_timeout


# A session that the server ends at the very moment at which it is asked takes the server's words with it.
TRIED = [(name, value) for name in SETTINGS for value in ("1ms", "300ms")]
TRIED.remove(("idle_session_timeout", "1ms"))


@pytest.mark.parametrize(("name", "value"), TRIED)
def test_a_timeout_of_the_role_does_no_harm_or_the_message_names_it_and_the_cure(
    address: Address,
    set_timeout: Callable[[str, str], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
) -> None:
    set_timeout(name, value)
    for words in (
        ("analyze",),
        ("journal.install",),
        ("extend", "--expires", str(SOON), "--to", str(NEXT_YEAR), "--yes"),
        ("history",),
        rotation(tmp_path),
    ):
        capsys.readouterr()
        status = typed(words[0], "--target", url(address), *words[1:])
        said = capsys.readouterr().err
        assert status == 0 or f'ALTER ROLE "gitlab" RESET {name};' in said or "not installed" in said, (words, said)
        if value == "300ms":
            assert status == 0, said
    found = typed("doctor", "--target", url(address))
    shown = capsys.readouterr().out
    if found == 0 and name not in ("lock_timeout", "idle_in_transaction_session_timeout"):
        assert "WARN timeouts" in shown
        assert f"ALTER ROLE gitlab RESET {name};" in shown


def test_what_ends_before_anything_was_asked_names_the_roles_statement_timeout(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "SETTINGS", {**database.SETTINGS, "statement_timeout": "1ms"})

    def slow(settings: object) -> sql.Composed:
        return sql.SQL("{}").format(sql.SQL("SET LOCAL statement_timeout = '1ms'; SELECT pg_sleep(1)"))

    monkeypatch.setattr(database, "set_configs", slow)
    cure = 'ALTER ROLE "gitlab" RESET statement_timeout'
    with connect(address) as connection, pytest.raises(DatabaseError, match=cure), connection.transaction():
        pass
    with pytest.raises(DatabaseError, match=cure), transaction(address):
        pass


def test_an_idle_session_that_the_server_ends_names_the_setting(
    address: Address, set_timeout: Callable[[str, str], None]
) -> None:
    set_timeout("idle_session_timeout", "20ms")
    with connect(address) as connection:
        with psycopg.connect(address.conninfo, autocommit=True) as other:
            other.execute("SET idle_session_timeout = 0")
            gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'gitlab-tokens'"
            while other.execute(gone).fetchone() == (False,):
                pass
        with (
            pytest.raises(ConnectionLost, match='ALTER ROLE "gitlab" RESET idle_session_timeout'),
            connection.transaction(),
        ):
            connection.execute("SELECT 1")
