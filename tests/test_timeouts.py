"""Timeouts that a role or a database brings along: they do no harm, or the message says how to be rid of them."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.testbed.addresses import url
from tests.testbed.commands import typed
from tests.testbed.marks import slow_ones
from tests.testbed.planted import NEXT_YEAR, SOON, fill, rotation
from tests.testbed.servers import Alone
from tokens import database
from tokens.address import Address
from tokens.database import connect, driver
from tokens.errors import ConnectionLost, DatabaseError
from tokens.upgrade.engine import transaction

SETTINGS = (
    "statement_timeout",
    "lock_timeout",
    "transaction_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
)


@pytest.fixture
def address(alone: Alone) -> Iterator[Address]:
    with alone.database() as address:
        fill(address)
        yield address


OWNERS = ("ROLE gitlab", "ROLE gitlab IN DATABASE {}", "DATABASE {}", "ROLE ALL", "ROLE ALL IN DATABASE {}")
"""What a setting may belong to."""


@pytest.fixture
def set_timeout(address: Address, superuser: Callable[[Address], Address]) -> Iterator[Callable[..., str]]:
    """Gives a timeout to one of OWNERS, and returns the statement that takes it off again."""
    resets = []

    def set_timeout(name: str, value: str, owner: str = OWNERS[1]) -> str:
        with psycopg.connect(superuser(address).conninfo) as connection:
            whose = owner.format(connection.info.dbname)
            connection.execute(f"ALTER {whose} SET {name} = '{value}'".encode())
        resets.append(f"ALTER {whose} RESET {name};")
        return resets[-1].replace("ROLE ALL IN ", "")

    yield set_timeout
    with psycopg.connect(superuser(address).conninfo) as connection:
        connection.execute("SET LOCAL statement_timeout = 0")
        for reset in resets:
            connection.execute(reset.encode())


SHORT = [(name, "300ms") for name in SETTINGS]

# A session that the server ends at the very moment at which it is asked takes the server's words with it.
SHORTEST = [(name, "1ms") for name in SETTINGS if name != "idle_session_timeout"]


@pytest.mark.parametrize(("name", "value"), [*slow_ones(*SHORTEST), *SHORT])
def test_a_timeout_of_the_role_does_no_harm_or_the_message_names_it_and_the_cure(
    address: Address,
    set_timeout: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
) -> None:
    cure = set_timeout(name, value)
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
        assert status == 0 or f"run {cure}" in said or "not installed" in said, (words, said)
        if value == "300ms":
            assert status == 0, said
    found = typed("doctor", "--target", url(address))
    shown = capsys.readouterr().out
    if found == 0 and name not in ("lock_timeout", "idle_in_transaction_session_timeout"):
        assert "WARN timeouts" in shown
        assert cure in shown


def test_what_ends_before_anything_was_asked_names_the_roles_statement_timeout(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "SETTINGS", {**driver.SETTINGS, "statement_timeout": "1ms"})

    def slow(settings: object) -> sql.Composed:
        return sql.SQL("{}").format(sql.SQL("SET LOCAL statement_timeout = '1ms'; SELECT pg_sleep(1)"))

    monkeypatch.setattr(driver, "set_configs", slow)
    cure = 'run ALTER ROLE "gitlab" RESET statement_timeout; \\(ALTER ROLE … IN DATABASE … or'
    with connect(address) as connection, pytest.raises(DatabaseError, match=cure), connection.transaction():
        pass
    with pytest.raises(DatabaseError, match=cure), transaction(address):
        pass


@pytest.mark.parametrize("owner", OWNERS)
def test_an_idle_session_that_the_server_ends_names_the_setting(
    address: Address, set_timeout: Callable[..., str], owner: str
) -> None:
    cure = set_timeout("idle_session_timeout", "20ms", owner)
    with connect(address) as connection:
        with psycopg.connect(address.conninfo, autocommit=True, options="-c idle_session_timeout=0") as other:
            gone = """
                SELECT count(*) = 0 FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'gitlab-tokens'
            """
            while other.execute(gone).fetchone() == (False,):
                pass
        with (
            pytest.raises(ConnectionLost, match=f"run {re.escape(cure)}"),
            connection.transaction(),
        ):
            connection.execute("SELECT 1")


def stand_still(connection: database.Connection, address: Address) -> None:
    """Ask again once the server has ended the session."""
    connection.set_locally(idle_in_transaction_session_timeout="20ms")
    with psycopg.connect(address.conninfo, autocommit=True) as other:
        gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = %s"
        while other.execute(gone, [connection.backend_pid]).fetchone() == (False,):
            pass
    connection.execute("SELECT 1")


def test_a_process_that_stood_still_in_a_transaction_is_told_so_and_no_setting_is_blamed(address: Address) -> None:
    said = r"this process stood still .* nothing of that transaction was done\.$"
    with connect(address) as connection, pytest.raises(ConnectionLost, match=said) as lost, connection.transaction():
        stand_still(connection, address)
    assert "ALTER ROLE" not in str(lost.value)


def test_of_several_owners_of_a_timeout_the_one_that_counts_is_named(
    address: Address,
    set_timeout: Callable[..., str],
    superuser: Callable[[Address], Address],
    capsys: pytest.CaptureFixture[str],
) -> None:
    cures = {owner: set_timeout("idle_session_timeout", "900ms", owner) for owner in OWNERS[:4]}
    for owner in ("ROLE gitlab IN DATABASE {}", "ROLE gitlab", "DATABASE {}", "ROLE ALL"):
        capsys.readouterr()
        typed("doctor", "--target", url(address))
        assert f"run: {cures[owner]}" in capsys.readouterr().out
        with psycopg.connect(superuser(address).conninfo) as connection:
            connection.execute(cures[owner].encode())
    with database.reading(address) as reader:
        assert database.cures(reader, ["idle_session_timeout"]) == ["ALTER ROLE gitlab SET idle_session_timeout = 0;"]
