"""`--debug` shows where a fault came from, and never the row that the server quotes: it may hold a live digest."""

import traceback
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from tests.testbed.addresses import url
from tests.testbed.commands import call_here
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_token, make_user
from tests.testbed.marks import slow_ones
from tests.testbed.planted import rotation
from tests.testbed.program import GITLAB_TOKENS
from tests.testbed.servers import Alone
from tokens.address import Address
from tokens.database import connect
from tokens.errors import TokensError
from tokens.upgrade.engine import transaction

DIGEST = "L1veD1gest0fS0mebody="
OBJECTION = """
    CREATE FUNCTION public.object() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      RAISE EXCEPTION 'no' USING DETAIL = 'the row is ' || NEW.token_digest, HINT = 'look for ' || NEW.token_digest;
    END $$;
    CREATE TRIGGER object BEFORE UPDATE ON public.personal_access_tokens
    FOR EACH ROW EXECUTE FUNCTION public.object();
"""


@pytest.fixture
def address(alone: Alone) -> Address:  # type: ignore[misc]
    with alone.database(journal=True) as address:
        with make_engine(address).begin() as connection:
            owner = make_user(connection, username="inventory", user_type=13)
            make_token(connection, user_id=owner, name="nightly", expires_at="2031-06-15", token_digest=DIGEST)
        yield address


@pytest.mark.parametrize("refuses", ["check", *slow_ones("trigger")])
def test_what_the_server_quotes_stays_out_of_debug(address: Address, tmp_path: Path, refuses: str) -> None:
    check = "ALTER TABLE public.personal_access_tokens ADD CONSTRAINT no CHECK (false) NOT VALID"
    with psycopg.connect(address.conninfo) as connection:
        connection.execute(check if refuses == "check" else OBJECTION)
    for words in (
        ("extend", "--expires", "2031-06-15", "--to", "2032-01-01", "--kind", "service-account", "--yes"),
        rotation(tmp_path),
    ):
        done = call_here(GITLAB_TOKENS, "--debug", words[0], "--target", url(address), *words[1:])
        shown = done.stdout + done.stderr
        assert done.returncode != 0
        assert "Traceback" in shown or words[0] == "rotate"
        for word in (DIGEST, "DETAIL", "HINT", "CONTEXT", "Failing row", "look for"):
            assert word not in shown, words[0]


def test_neither_of_the_two_ways_to_the_database_keeps_what_the_server_quotes(address: Address) -> None:
    insert = f"INSERT INTO public.personal_access_tokens (name, token_digest) VALUES (NULL, '{DIGEST}')"
    with connect(address) as connection, pytest.raises(TokensError) as plain, connection.transaction():
        connection.execute(insert)
    with pytest.raises(TokensError) as migrating, transaction(address) as other:
        other.execute(sa.text(insert))
    for fault in (plain, migrating):
        text = "".join(traceback.format_exception(fault.value))
        assert "null value in column" in text
        assert DIGEST not in text.replace(insert, "")
        assert "Failing row" not in text
